"""The corpus of broken repositories: each fault gives its one line, and the good ones give none."""

import pytest

from runtime.errors import BadInput
from runtime.triton.check import check_repository
from tests.fakes import triton_faults, triton_file_faults
from tests.fakes.triton_broken import BASES, Corpus

FAULTS = (*triton_faults.ROWS, *triton_file_faults.ROWS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return Corpus(tmp_path_factory.mktemp("corpus"))


def test_the_corpus_is_as_large_as_promised_and_names_no_fault_twice():
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.line and fault.source for fault in FAULTS)


@pytest.mark.parametrize("base", BASES)
def test_a_good_repository_has_no_findings(corpus, base):
    served = check_repository(corpus.good(base))
    assert served.name == ("both" if base == "ensemble" else "fare")
    assert len(served.notes) == (1 if base == "plan" else 0)  # of a plan only the header is read


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_gives_its_one_line(corpus, tmp_path, fault):
    repository = corpus.broken(fault, tmp_path / "repo")
    if fault.where:
        with pytest.raises(BadInput) as caught:
            check_repository(repository)
        said = [problem.line() for problem in caught.value.problems]
        expected = f"repository='{repository / fault.where}': {fault.line}"
    else:
        said = list(check_repository(repository).notes)
        expected = f"{repository}/{fault.line}"
    assert [line.replace(f"{repository}/", "") for line in said] == [expected.replace(f"{repository}/", "")]
