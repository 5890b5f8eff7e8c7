"""What each command must be allowed to do, and what of it the brokers do not allow this user.

The brokers are asked what they allow whoever asks (KIP-430), so no right to see access lists is needed; transactional ids
cannot be asked about, they are tried.
"""

from __future__ import annotations

from connectors.kafka.admin import Admin, progress_topic
from craft_stream.settings import KafkaSettings

READ, WRITE, CONFIGS, DESCRIBE = "READ", "WRITE", "DESCRIBE_CONFIGS", "DESCRIBE"
GROUP, PROGRESS = "group", "progress"
# By command, what it does with which topic, as the settings are called, with the group, and with the topic of marks of what was
# published. Read and Write imply Describe.
NEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "run": {
        "input_topic": (READ,),
        "target_topic": (READ, CONFIGS),
        "accepted_topic": (WRITE,),
        "decisions_topic": (WRITE,),
        "dead_letter_topic": (WRITE,),
        "model_topic": (READ, WRITE, CONFIGS),
        "ledger_topic": (READ, WRITE, CONFIGS),
        GROUP: (READ,),
    },
    "learn": {
        "input_topic": (READ,),
        "target_topic": (READ, CONFIGS),
        "accepted_topic": (READ,),
        "model_topic": (READ, WRITE, CONFIGS),
    },
    "crawl": {"input_topic": (WRITE,), PROGRESS: (READ, WRITE)},
    "publish": {"input_topic": (WRITE,), PROGRESS: (READ, WRITE)},
    "export": {"accepted_topic": (READ,), "model_topic": (READ,)},
    "target publish": {"target_topic": (READ, WRITE)},
    "audit": {  # and whatever else decides the log again, or shows ledgers
        "input_topic": (READ,),
        "decisions_topic": (READ,),
        "model_topic": (READ,),
        "ledger_topic": (READ,),
        GROUP: (DESCRIBE,),
    },
    "dlq replay": {"dead_letter_topic": (READ, WRITE), "input_topic": (WRITE,)},
}
_WORDS = {READ: "Read", WRITE: "Write", CONFIGS: "DescribeConfigs", DESCRIBE: "Describe"}


class Rights:
    """What the brokers allow, asked once."""

    def __init__(self, admin: Admin, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        roles = {role for needs in NEEDS.values() for role in needs if role != GROUP}
        self._topics = admin.allowed(sorted(map(self._topic, roles)))
        self._group = admin.allowed_group(kafka.group_id)

    def _topic(self, role: str) -> str:
        return (
            progress_topic(self._kafka.input_topic) if role == PROGRESS else str(getattr(self._kafka, role))
        )

    def hides(self, topic: str) -> bool:
        """Whether brokers do not even say if a topic is there."""
        return self._topics.get(topic) == frozenset()

    def missing(self, command: str) -> list[str]:
        """Rights that a command needs and has not, as an access list calls them; what cannot be known is not missing."""
        found = []
        for role, operations in NEEDS[command].items():
            if role == GROUP:
                allowed, what = self._group, f"group {self._kafka.group_id}"
            else:
                name = self._topic(role)
                allowed, what = self._topics.get(name), f"topic {name}"
            if allowed is None or "ALL" in allowed:
                continue
            found += [f"{_WORDS[o]} on {what}" for o in operations if o not in allowed]
        return found
