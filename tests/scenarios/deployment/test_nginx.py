"""The proxy shows what a SuperNode calls, and nothing that it does not."""

from pathlib import Path

import pytest

from scenarios.deployment.nginx import FLEET, Proxy
from shared.errors import SettingsError


def proxy(listen: str = "443", certificate: Path = Path("/c/server.pem")) -> Proxy:
    return Proxy(listen, certificate, Path("/c/server.key"), "127.0.0.1:9092", Path("/c/ca.crt"))


def test_every_call_of_the_installed_flower_is_listed_but_for_registering() -> None:
    from flwr.superlink.routers.fleet.router import router  # brings a database with it

    calls = {getattr(route, "path", "") for route in router.routes}
    shown = {f"/v1/fleet/{name}" for name in FLEET}
    assert calls - shown == {"/v1/fleet/register-node", "/v1/fleet/unregister-node"}
    assert shown <= calls


def test_the_path_that_goes_on_is_built_from_the_list() -> None:
    text = proxy().server()
    assert text.count("proxy_pass") == 1 and "proxy_pass https://127.0.0.1:9092/v1/fleet/$1;" in text
    assert "location / { return 403; }" in text
    assert "proxy_ssl_verify on;" in text


def test_no_body_touches_the_proxys_disk() -> None:
    text = proxy().server()
    assert "proxy_request_buffering off;" in text and "proxy_max_temp_file_size 0;" in text


def test_a_standalone_configuration_keeps_its_files_in_its_folder() -> None:
    text = proxy().standalone(Path("/x/nginx"))
    assert 'pid "/x/nginx/nginx.pid";' in text and 'client_body_temp_path "/x/nginx/client_body";' in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("listen", ["443; root /", "", "a b", "80 {"])
def test_a_word_that_would_say_more_to_nginx_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError, match="no place to listen at"):
        proxy(listen).server()


def test_a_path_that_would_say_more_to_nginx_is_refused() -> None:
    with pytest.raises(SettingsError, match="choose another folder"):
        proxy(certificate=Path('/c/a";x.pem')).server()
