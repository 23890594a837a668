"""The configuration of Prometheus: promtool takes it, and every role has its job."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability.write import HERE
from tests.kit.promql import promtool
from workers.catalogue import Role

CONFIG = HERE / "prometheus.yml"
JOBS = [f"payments-{role}" for role in Role]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The configuration as it is deployed: with its targets, and with whatever rules there are."""
    shutil.copy(CONFIG, tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "targets").mkdir()
    for at, name in enumerate([*JOBS, "alertmanager"]):
        (tmp_path / "targets" / f"{name}.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{9100 + at}"]}]))
    return tmp_path


def check(folder: Path) -> tuple[int, str]:
    command = [promtool(), "check", "config", str(folder / CONFIG.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load(CONFIG.read_text())


def test_promtool_takes_it(folder):
    code, said = check(folder)
    assert (code, "WARNING" in said) == (0, False), said


def test_promtool_reads_the_targets(folder):
    (folder / "targets" / "payments-relay.json").write_text('[{"target": ["127.0.0.1:9101"]}]')
    code, said = check(folder)
    assert code != 0
    assert "payments-relay.json" in said


def test_every_role_has_its_job(config):
    assert [job["job_name"] for job in config["scrape_configs"]] == JOBS


def test_each_job_reads_its_own_targets_beside_the_configuration(config):
    for job in config["scrape_configs"]:
        assert job["file_sd_configs"] == [{"files": [f"targets/{job['job_name']}.json"]}]


def test_how_often_it_looks_and_where_its_rules_lie(config):
    assert config["global"]["scrape_interval"] == "15s"
    assert config["rule_files"] == ["rules/*.yml"]
