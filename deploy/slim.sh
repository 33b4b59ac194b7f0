#!/bin/sh
# Takes out of a virtual environment what no program of ours reads, and compiles the rest the same way each time:
#
#   deploy/slim.sh /opt/justai
#
# `make image-check` starts every service without what goes here; tests/unit/deploy/test_image.py knows which of AWS'
# services our code calls.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
rm -rf "$1"/bin/activate* "$1"/bin/Activate* "$1"/include "$1"/share

# Sources of compiled parts, and the packages' own tests.
find "$site" -type d -name tests -prune -exec rm -rf {} +
find "$site" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' \
    -o -name '*.cc' -o -name '*.cpp' \) -delete
rm -rf "$site"/pyarrow/include "$site"/pyarrow/src

# Arrow's network server and its own client of S3 (ours is another one): what needs these is imported by nobody.
rm -f "$site"/pyarrow/*flight* "$site"/pyarrow/_s3fs* "$site"/pyarrow/libarrow_s3*

# The AWS client describes several hundred services; ours call these.
keep='s3 sts kms'
for folder in "$site"/botocore/data/*/; do
    name=$(basename "$folder")
    case " $keep " in *" $name "*) ;; *) rm -rf "$folder" ;; esac
done

# Compiled with the digest of the source in place of its time, so that the same sources give the same bytes.
PYTHONHASHSEED=0 "$1"/bin/python -m compileall -q -f --invalidation-mode unchecked-hash "$site"
