"""Why the provider's word let nobody in. What people read are sentences of ours alone: a provider, or a link that
somebody made, puts no words on our pages."""

from dataclasses import dataclass
from typing import Final, Literal

Reason = Literal[
    "flow_gone",          # the cookie of this sign-in is not here, too old, or was used already
    "wrong_issuer",       # the answer came from another provider than the one that was asked
    "denied",             # the provider, or the person there, said no
    "unreachable",        # the provider does not answer, or answers an error
    "odd_provider",       # what it says of itself cannot be used
    "code_refused",       # it did not take the code
    "bad_token",          # its ID token does not hold
    "email_unverified",
    "domain_not_allowed",
    "unknown_person",
    "no_such_org",        # the setting names an org that is not there
    "linked_to_another",  # the account belongs to somebody else at the provider
]  # fmt: skip

_SENTENCES: Final[dict[Reason, str]] = {
    "flow_gone": "This sign-in took too long, was finished already, or was begun in another browser. Begin again.",
    "wrong_issuer": "The answer did not come from {label}. Nobody was signed in. Begin again.",
    "denied": "{Label} did not let you in, or you went back. You can try again.",
    "unreachable": "{Label} does not answer at the moment. Try again soon.",
    "odd_provider": "{Label} cannot be used as it is set up. Tell whoever runs the console: its log says why.",
    "code_refused": "{Label} did not confirm this sign-in. Begin again.",
    "bad_token": "What {label} said about you does not hold. Begin again; if that does not help, tell whoever "
    "runs the console.",
    "email_unverified": "{Label} does not say that your email address is verified. Have it verified there first.",
    "domain_not_allowed": "{Label} knows you, but this console does not let people of your email domain in.",
    "unknown_person": "{Label} knows you, but nobody invited you here yet. Ask an owner of your org for an invitation.",
    "no_such_org": "{Label} knows you, but the org that you would join is not here. Tell whoever runs the console.",
    "linked_to_another": "The account with your email address is linked to somebody else at {label}. Tell whoever runs "
    "the console.",
}


@dataclass(eq=False)  # not frozen: an exception carries its traceback
class SignInRefused(Exception):
    """Nobody is signed in. `detail` is for the log: codes and names, no tokens and no people's values."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason

    @property
    def status(self) -> int:
        """Whether it is the provider that failed."""
        return 502 if self.reason in ("unreachable", "odd_provider") else 403


def sentence_of(reason: Reason, label: str) -> str:
    """What is said on the sign-in page."""
    return _SENTENCES[reason].format(label=label, Label=label[:1].upper() + label[1:])
