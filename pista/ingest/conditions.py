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
    - PiiSecretMissing: personal values are to be hashed, and there is no secret.
    """

    code = "INGEST_CONDITION"
    way_on = ""  # what to type or to do; NAME stands for the dataset

    def __init__(self, dataset: str, sentence: str) -> None:
        super().__init__(f"{self.code}: dataset {dataset}: {sentence} {self.way_on.replace('NAME', dataset)}")
        self.dataset = dataset
        self.sentence = sentence


class TopicMissing(IngestCondition):
    """The topic that was read is gone."""

    code = "TOPIC_MISSING"
    way_on = "Restore it, or retire the contract. `pista dataset pause NAME --reason ...` keeps it quiet until then."


class TopicRecreated(IngestCondition):
    """A topic of the same name, but another topic: offsets mean other records now."""

    code = "TOPIC_RECREATED"
    way_on = (
        "Rows so far are kept. `pista offsets reset NAME --to earliest --reason ...` takes the new topic for their "
        "continuation."
    )


class OffsetsExpired(IngestCondition):
    """The broker deleted records before they were read."""

    code = "OFFSETS_EXPIRED"
    way_on = "`pista offsets accept-loss NAME --reason ...` goes on at the first offset that is left."


class LogTruncated(IngestCondition):
    """The broker's log ends before what was read."""

    code = "LOG_TRUNCATED"
    way_on = "`pista offsets accept-loss NAME --reason ...` goes on where the log began to differ from what was loaded."


class PartitionRemoved(IngestCondition):
    """A partition that was read is gone."""

    code = "PARTITION_REMOVED"
    way_on = "`pista offsets accept-loss NAME --reason ...` closes its line in the ledger."


class TopicUnreadable(IngestCondition):
    """The broker does not let the topic be read: no leader, or no permission."""

    code = "TOPIC_UNREADABLE"
    way_on = "Ask whoever runs the broker; `pista offsets show NAME` says when it can be read again."


class QuarantineFlood(IngestCondition):
    """So many rows are refused that something is wrong with the contract, and not with the records."""

    code = "QUARANTINE_FLOOD"
    way_on = (
        "Mend the contract and run `pista apply`; or `pista offsets accept-loss NAME --reason ...` lets the next batch "
        "go to quarantine."
    )


class ContractNotApplied(IngestCondition):
    """The contract file is not the one that the tables are of."""

    code = "CONTRACT_NOT_APPLIED"
    way_on = "Run `pista apply`."


class PiiSecretMissing(IngestCondition):
    """Personal values are to be hashed, and there is no secret."""

    code = "PII_SECRET_MISSING"
    way_on = "Set it, for every process that ingests, to the same random text of at least 32 characters, and keep it."
