"""What is shown of a configuration."""

from dicom_node.config import Config, Database
from dicom_node.store.database import mask_password
from dicom_node.web.app import public_text


def test_no_secret_of_a_database_url_is_shown() -> None:
    url = "postgresql+psycopg://node:s3cret@db:5432/node?sslpassword=s3cret&sslmode=require"
    assert mask_password(url) == "postgresql+psycopg://node:***@db:5432/node?sslmode=require&sslpassword=masked"
    assert "s3cret" not in public_text(Config(database=Database(url=url)))


def test_a_url_without_a_secret_stays_as_it_is() -> None:
    assert mask_password("sqlite:////data/node.sqlite") == "sqlite:////data/node.sqlite"
