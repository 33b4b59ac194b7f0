"""Copy is parsed and compared beside the event loop: who approves a long one keeps nobody else waiting."""

import threading

import pytest

from shared.admin.operation import Operation
from shared.admin.templates import templates
from shared.admin.variants import saving, variants
from shared.admin.variants.variants import Step, Stepped
from shared.content.checks import Asked, check_copy
from shared.content.faults import Reading
from shared.schemas.template_file import VariantCopy
from tests.component.admin.rig import Rig

WARM = {"template_id": "welcome", "variant": "Warm"}


@pytest.mark.parametrize("step", [variants.submit, variants.approve])
async def test_checks_of_a_step_do_not_hold_the_loop(
    acme: Rig, step: Operation[Step, Stepped], monkeypatch: pytest.MonkeyPatch
) -> None:
    control = {"subject": "S", "preheader": "", "body": "<p>W</p>"}
    file = {"template_id": "welcome", "name": "Welcome", "control": control}
    await acme.run(templates.import_template, {"template": file})
    await acme.run(saving.save, {**WARM, "subject": "Come in", "body": "<p>Hello, come in.</p>"})
    checking: list[bool] = []

    def checked(variant: VariantCopy, asked: Asked) -> Reading:
        checking.append(threading.current_thread() is threading.main_thread())
        return check_copy(variant, asked)

    monkeypatch.setattr(variants, "check_copy", checked)
    await acme.run(step, WARM)

    assert checking == [False]
