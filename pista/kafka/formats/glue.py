"""The AWS Glue schema registry, by way of boto3, which is imported when a dataset needs it."""

from typing import Any
from uuid import UUID

from pista.kafka.formats.errors import (
    Code,
    FormatError,
    RegistryNotConfiguredError,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from pista.kafka.formats.schemas import Schema, SchemaType

ATTEMPTS = 4
TIMEOUT_SECONDS = 5.0  # to connect, and for each read
# answers that another attempt may change though they are no 5xx
TRANSIENT = {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "RequestTimeout"}
UNKNOWN = "EntityNotFoundException"


class GlueRegistry:
    """The registries of one AWS account and region: ids of schema versions are unique over all."""

    def __init__(self, region: str | None = None) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import NoRegionError
        except ImportError:
            raise RegistryNotConfiguredError(
                "the AWS Glue schema registry needs boto3. Install it with `pip install 'pista[aws]'`."
            ) from None
        try:
            self._client: Any = boto3.Session().client(
                "glue",
                region_name=region,
                config=Config(
                    connect_timeout=TIMEOUT_SECONDS,
                    read_timeout=TIMEOUT_SECONDS,
                    retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                ),
            )
        except NoRegionError:
            raise RegistryNotConfiguredError(
                "the AWS Glue schema registry needs a region. Set PISTA_AWS_REGION, or AWS_DEFAULT_REGION."
            ) from None

    def describe(self, schema: bytes) -> str:
        """What sentences call that schema."""
        return f"schema version {UUID(bytes=schema)}"

    def fetch(self, schema: bytes) -> Schema:
        """The schema of that version; Glue knows no references. See ``Registry``."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
        from botocore.exceptions import ConnectionError as NoConnectionError

        version = str(UUID(bytes=schema))
        try:
            answer = self._client.get_schema_version(SchemaVersionId=version)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if code == UNKNOWN:
                raise FormatError(Code.UNKNOWN_SCHEMA, f"AWS Glue has no schema version {version}") from None
            if status >= 500 or code in TRANSIENT:
                raise RegistryUnavailableError(f"AWS Glue did not answer in {ATTEMPTS} attempts: {code}") from None
            raise RegistryRefusedError(f"AWS Glue refused to give schema version {version}: {code}") from None
        except NoCredentialsError:
            raise RegistryRefusedError("AWS Glue was not asked, because there are no AWS credentials") from None
        except (HTTPClientError, NoConnectionError) as error:
            raise RegistryUnavailableError(f"AWS Glue did not answer: {type(error).__name__}") from None
        except BotoCoreError as error:
            raise RegistryRefusedError(f"AWS Glue could not be asked: {type(error).__name__}: {error}") from None
        try:
            return Schema(SchemaType(answer["DataFormat"]), answer["SchemaDefinition"], glue=True)
        except (KeyError, ValueError) as error:
            raise FormatError(
                Code.UNDECODABLE, f"AWS Glue's schema version {version} cannot be used: {type(error).__name__} {error}"
            ) from None
