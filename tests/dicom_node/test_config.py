"""The configuration file: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

import re

import pytest

from dicom_node.config.loading import ConfigError, load_config

SMALLEST = """
[node]
ae_title = "DICOMNODE"
bind = "127.0.0.1"
port = 11112
data_dir = "node-data"
quiet_time_s = 10
[[senders]]
ae_title = "PACS"
networks = ["127.0.0.0/8"]
[[destinations]]
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4242
[model]
bundle = "default"
engine = "auto"
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "node.toml"
        path.write_text(text)
        return path

    return write


def test_the_smallest_config_is_enough_and_paths_start_at_the_file(write, tmp_path):
    config = load_config(write(SMALLEST), {})
    assert config.node.data_dir == tmp_path / "node-data"
    assert config.senders[0].ae_title == "PACS"
    assert config.destinations[0].port == 4242


def test_an_unknown_key_is_refused_by_name(write):
    with pytest.raises(ConfigError, match=r"node\.quiet_time: Extra inputs"):
        load_config(write(SMALLEST.replace("quiet_time_s", "quiet_time")), {})


def test_a_missing_destination_is_refused(write):
    text = SMALLEST[: SMALLEST.index("[[destinations]]")]
    with pytest.raises(ConfigError, match="destinations"):
        load_config(write(text), {})


def test_an_engine_that_this_version_does_not_have_is_refused(write):
    with pytest.raises(ConfigError, match=r"model\.engine"):
        load_config(write(SMALLEST.replace('"auto"', '"torch"')), {})


def test_two_destinations_of_one_name_are_refused(write):
    block = SMALLEST[SMALLEST.index("[[destinations]]") : SMALLEST.index("[model]")]
    with pytest.raises(ConfigError, match="must differ"):
        load_config(write(SMALLEST + block), {})


def test_text_that_is_not_toml_is_refused_with_its_place(write):
    with pytest.raises(ConfigError, match=r"not TOML: Expected"):
        load_config(write("[node"), {})


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load_config(tmp_path / "absent.toml", {})


def test_environment_variables_override_keys(write):
    environ = {"DICOM_NODE_NODE_PORT": "11113", "DICOM_NODE_MODEL_THREADS": "1", "HOME": "/"}
    config = load_config(write(SMALLEST), environ)
    assert config.node.port == 11113
    assert config.model.threads == 1


def test_analysis_and_delivery_are_retried_by_keys_of_their_own(write):
    text = SMALLEST + "[analysis]\nmost_retries = 2\n[delivery]\ngive_up_after_s = 60\n"
    config = load_config(write(text), {"DICOM_NODE_ANALYSIS_FIRST_RETRY_S": "7"})
    assert (config.analysis.first_retry_s, config.analysis.most_retries) == (7, 2)
    assert (config.delivery.first_retry_s, config.delivery.give_up_after_s) == (5, 60)


def test_a_key_of_the_other_section_is_refused(write):
    with pytest.raises(ConfigError, match=r"analysis\.give_up_after_s"):
        load_config(write(SMALLEST + "[analysis]\ngive_up_after_s = 60\n"), {})
    with pytest.raises(ConfigError, match=r"delivery\.most_retries"):
        load_config(write(SMALLEST + "[delivery]\nmost_retries = 2\n"), {})


def test_a_misspelled_override_is_refused_and_not_ignored(write):
    with pytest.raises(ConfigError, match="DICOM_NODE_PORT"):
        load_config(write(SMALLEST), {"DICOM_NODE_PORT": "1"})
    with pytest.raises(ConfigError, match=r"node\.portt"):
        load_config(write(SMALLEST), {"DICOM_NODE_NODE_PORTT": "1"})


def test_reports_are_english_unless_another_language_is_asked_for(write):
    assert load_config(write(SMALLEST), {}).reports.language == "en"
    german = load_config(write(SMALLEST + '[reports]\nlanguage = "de"\n'), {})
    assert german.reports.language == "de"


@pytest.mark.parametrize("language", ["fr", "DE", "de-DE", ""])
def test_a_language_that_results_do_not_speak_is_refused_with_those_they_do(write, language):
    expected = f"found {language!r}, which results do not speak; expected one of en, de"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_config(write(f'{SMALLEST}[reports]\nlanguage = "{language}"\n'), {})
