"""The bytes of a publish are those that the AMQP library itself would make."""

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, header

from shared.messaging.wire import encoded

ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100)


@given(
    channel=st.integers(1, 2047),
    frame_body_bytes=st.integers(1, 50),
    queue=ASCII,
    content=st.binary(max_size=200),
    message_id=ASCII,
)
def test_a_publish_is_encoded_as_the_library_would(
    channel: int, frame_body_bytes: int, queue: str, content: bytes, message_id: str
) -> None:
    properties = commands.Basic.Properties(content_type="application/json", delivery_mode=2, message_id=message_id)
    parts = [content[at : at + frame_body_bytes] for at in range(0, len(content), frame_body_bytes)]
    frames: list[commands.Basic.Publish | header.ContentHeader | body.ContentBody] = [
        commands.Basic.Publish(exchange="", routing_key=queue, mandatory=True),
        header.ContentHeader(body_size=len(content), properties=properties),
        *map(body.ContentBody, parts),
    ]

    ours = encoded(channel, frame_body_bytes, queue, content, message_id.encode())

    assert ours == b"".join(pamqp.frame.marshal(frame, channel) for frame in frames)
