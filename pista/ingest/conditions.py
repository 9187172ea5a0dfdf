"""What must never pass in silence: each condition has a name, a sentence and a way on, and stops its dataset."""


class IngestCondition(Exception):
    """A dataset cannot go on by itself.

    - TopicMissing: the topic that was read is gone.
    - TopicRecreated: a topic of the same name, but another topic.
    - OffsetsExpired: the broker deleted records before they were read.
    - LogTruncated: the broker's log is shorter than what was read.
    - PartitionRemoved: a partition that was read is gone.
    - TopicUnreadable: the broker does not let the topic be read.
    - QuarantineFlood: so many rows are refused that something is wrong with the contract.
    - ContractNotApplied: the contract file is not the one that the tables are of.
    """

    code = "INGEST_CONDITION"

    def __init__(self, dataset: str, sentence: str) -> None:
        super().__init__(f"{self.code}: dataset {dataset}: {sentence}")
        self.dataset = dataset
        self.sentence = sentence


class TopicMissing(IngestCondition):
    """The topic that was read is gone."""

    code = "TOPIC_MISSING"


class TopicRecreated(IngestCondition):
    """A topic of the same name, but another topic: offsets mean other records now."""

    code = "TOPIC_RECREATED"


class OffsetsExpired(IngestCondition):
    """The broker deleted records before they were read."""

    code = "OFFSETS_EXPIRED"


class LogTruncated(IngestCondition):
    """The broker's log ends before what was read."""

    code = "LOG_TRUNCATED"


class PartitionRemoved(IngestCondition):
    """A partition that was read is gone."""

    code = "PARTITION_REMOVED"


class TopicUnreadable(IngestCondition):
    """The broker does not let the topic be read: no leader, or no permission."""

    code = "TOPIC_UNREADABLE"


class QuarantineFlood(IngestCondition):
    """So many rows are refused that something is wrong with the contract, and not with the records."""

    code = "QUARANTINE_FLOOD"


class ContractNotApplied(IngestCondition):
    """The contract file is not the one that the tables are of."""

    code = "CONTRACT_NOT_APPLIED"
