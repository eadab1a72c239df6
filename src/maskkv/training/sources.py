"""What the corpus is made of: distributions on PyPI, each at one version, under permissive licences."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One distribution, the licence that its metadata states, and how much of it is taken."""

    name: str
    version: str
    licence: str
    most_characters: int = 1_200_000


SOURCES = (
    Source("aiohttp", "3.14.5", "Apache-2.0 AND MIT"),
    Source("alembic", "1.20.1", "MIT"),
    Source("anyio", "4.16.0", "MIT"),
    Source("apache-airflow-core", "3.3.2", "Apache-2.0"),
    Source("astropy", "8.0.2", "BSD-3-Clause"),
    Source("attrs", "26.1.0", "MIT"),
    Source("biopython", "1.88", "Biopython License Agreement (MIT style)"),
    Source("botocore", "1.44.8", "Apache-2.0"),
    Source("celery", "5.7.0", "BSD-3-Clause"),
    Source("certbot", "5.8.0", "Apache-2.0"),
    Source("cinder", "29.0.0", "Apache-2.0"),
    Source("click", "8.5.1", "BSD-3-Clause"),
    Source("dask", "2026.8.0", "BSD-3-Clause"),
    Source("distributed", "2026.8.0", "BSD-3-Clause"),
    Source("django", "5.2.19", "BSD-3-Clause"),
    Source("fastapi", "0.165.0", "MIT"),
    Source("flask", "3.1.3", "BSD-3-Clause"),
    Source("fsspec", "2026.9.0", "BSD-3-Clause"),
    Source("glance", "33.0.0", "Apache-2.0"),
    Source("httpx", "0.28.1", "BSD-3-Clause"),
    Source("ipython", "9.18.1", "BSD-3-Clause"),
    Source("jax", "0.10.2", "Apache-2.0"),
    Source("jinja2", "3.1.6", "BSD-3-Clause"),
    Source("jupyter_server", "2.21.1", "BSD-3-Clause"),
    Source("keras", "3.15.1", "Apache-2.0"),
    Source("keystone", "30.0.0", "Apache-2.0"),
    Source("kubernetes", "37.0.2", "Apache-2.0"),
    Source("matplotlib", "3.11.2", "Matplotlib licence (PSF style)"),
    Source("mlflow-skinny", "3.17.2", "Apache-2.0"),
    Source("networkx", "3.6.1", "BSD-3-Clause"),
    Source("neutron", "29.0.0", "Apache-2.0"),
    Source("nltk", "3.10.4", "Apache-2.0"),
    Source("notebook", "7.6.5", "BSD-3-Clause"),
    Source("nova", "34.0.0", "Apache-2.0"),
    Source("numpy", "2.4.6", "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0"),
    Source("openai", "3.57.0", "Apache-2.0"),
    Source("pandas", "3.1.1", "BSD-3-Clause"),
    Source("pydantic", "2.14.3", "MIT"),
    Source("pytest", "9.2.0", "MIT"),
    Source("requests", "2.34.2", "Apache-2.0"),
    Source("rich", "15.0.0", "MIT"),
    Source("scikit-image", "0.26.0", "BSD-3-Clause"),
    Source("scikit-learn", "1.9.1", "BSD-3-Clause"),
    Source("scipy", "1.17.1", "BSD-3-Clause"),
    Source("scrapy", "2.19.0", "BSD-3-Clause"),
    Source("setuptools", "84.2.1", "MIT"),
    Source("sphinx", "9.0.4", "BSD-2-Clause"),
    Source("sqlalchemy", "2.1.9", "MIT"),
    Source("starlette", "1.10.0", "BSD-3-Clause"),
    Source("statsmodels", "0.15.0", "BSD-3-Clause"),
    Source("stripe", "16.1.0", "MIT"),
    Source("sympy", "1.14.0", "BSD-3-Clause"),
    Source("tornado", "6.6.1", "Apache-2.0"),
    Source("transformers", "5.17.0", "Apache-2.0"),
    Source("trio", "0.35.0", "MIT OR Apache-2.0"),
    Source("twisted", "26.10.0", "MIT"),
    Source("typer", "0.29.2", "MIT"),
    Source("virtualenv", "21.15.8", "MIT"),
    Source("wagtail", "8.0.1", "BSD-3-Clause"),
    Source("werkzeug", "3.1.9", "BSD-3-Clause"),
    Source("xarray", "2026.9.0", "Apache-2.0"),
)
