"""What is asked of the diagnoses of `doctor`."""

from seedsweep.scheduler.doctor.diagnosis import exit_code


def verdicts(diagnoses):
    return [diagnosis.verdict for diagnosis in diagnoses]


def failure(diagnoses, *words, code=2):
    """The only failure among the diagnoses: one line that holds the words, and its exit code."""
    (failed,) = [diagnosis for diagnosis in diagnoses if diagnosis.verdict == "failure"]
    assert "\n" not in failed.says + failed.remedy
    assert "Traceback" not in failed.says
    for word in words:
        assert word in failed.says + failed.remedy
    assert exit_code(diagnoses) == code
    return failed
