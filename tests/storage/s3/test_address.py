import pytest

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.stores import open_store


class TestUrl:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-of-nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-nobody")
        monkeypatch.delenv("AWS_REGION", raising=False)
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    @pytest.mark.parametrize(
        ("given", "whole"),
        [
            ("bkt?endpoint=http://h:83", "bkt?endpoint=http://h:83&region=us-east-1"),
            ("bkt/?endpoint=http://h:83/", "bkt?endpoint=http://h:83&region=us-east-1"),
            ("bkt/a/b/?endpoint=http%3A%2F%2Fh", "bkt/a/b?endpoint=http://h&region=us-east-1"),
            ("bkt/a?region=eu-west-1", "bkt/a?region=eu-west-1"),
            ("bkt?region=x-1&endpoint=https://h", "bkt?endpoint=https://h&region=x-1"),
            ("bkt?endpoint=http://[::1]:83", "bkt?endpoint=http://[::1]:83&region=us-east-1"),
            ("bkt/user=ann/_x/.y+z?region=x", "bkt/user=ann/_x/.y+z?region=x"),
            ("bkt/team a/größe?region=x", "bkt/team%20a/gr%C3%B6%C3%9Fe?region=x"),
            ("bkt/a%3Fb%23c%2541?region=x", "bkt/a%3Fb%23c%2541?region=x"),
            ("bkt/50%?region=x", "bkt/50%25?region=x"),
        ],
    )
    def test_a_stores_url_is_whole_and_opens_the_same_store(self, given, whole):
        store = open_store(f"s3://{given}")
        assert store.url == f"s3://{whole}"
        assert open_store(store.url).url == store.url

    @pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
    def test_the_region_may_come_from_the_environment(self, monkeypatch, name):
        monkeypatch.setenv(name, "eu-central-1")
        assert open_store("s3://bucket").url == "s3://bucket?region=eu-central-1"
        url = "s3://bucket?endpoint=http://h&region=x"
        assert open_store(url).url == url

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("s3://AKIA:s3cret@bucket?endpoint=http://h", "holds credentials"),
            ("s3://s3cret@bucket?endpoint=http://h", "holds credentials"),
            ("s3://bucket?endpoint=http://AKIA:s3cret@h:1", "holds credentials"),
            ("s3://bucket?endpoint=http://h&secret_key=s3cret", "options other than endpoint and"),
            ("s3://bucket?endpoint=http://h&s3cret", "options other than endpoint and"),
            ("s3://bucket?endpoint=http://h#s3cret", "options other than endpoint and"),
            ("s3://bucket?endpoint=http://h&endpoint=http://s3cret", "twice or without"),
            ("s3://bucket?endpoint=", "twice or without a value"),
            ("s3://?endpoint=http://h", "names no bucket"),
            ("s3:bucket?endpoint=http://h", "names no bucket"),
            ("s3://No_Bucket?endpoint=http://h", "names no bucket of 3 to 63 lower-case letters"),
            ("s3://bucket/a%00b?endpoint=http://h", "prefix that is not a key"),
            ("s3://bucket/%ff?endpoint=http://h", "prefix that is not a key"),
            ("s3://bucket/a\nb?endpoint=http://h", "cannot be read"),
            ("s3://bucket?endpoint=h:83", "it lacks http:// or https://"),
            ("s3://bucket?endpoint=127.0.0.1:9000", "it lacks http:// or https://"),
            ("s3://bucket?endpoint=s3cret:s3cret@h", "it lacks http:// or https://"),
            ("s3://bucket?endpoint=ftp://h", "has an endpoint that is not http"),
            ("s3://bucket?endpoint=http://h/path", "has an endpoint that is not"),
            ("s3://bucket?endpoint=http://h:port", "cannot be read"),
            ("s3://bucket?endpoint=http://[", "cannot be read"),
            ("s3://bucket/../x?endpoint=http://h", "prefix that is not a key"),
            ("s3://bucket/a//b?endpoint=http://h", "prefix that is not a key"),
            ("s3://bucket/a/%2E%2E/b?endpoint=http://h", "prefix that is not a key"),
            ("s3://bucket/x", "names neither an endpoint nor, for AWS, a region"),
        ],
    )
    def test_a_url_that_names_no_store_is_refused_without_showing_secrets(self, url, why):
        with pytest.raises(ConfigError, match=f"{why}.*write s3://BUCKET/PREFIX") as caught:
            open_store(url)
        assert "s3cret" not in str(caught.value)

    def test_opening_makes_no_request(self, free_port):
        open_store(f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}")
