from collections import Counter

from seedsweep.workers.cluster.jobs import IN_FLIGHT_PER_ACTOR, spread


class OneEndsAtATime:
    def wait(self, under_way, timeout):
        return under_way[-1:], under_way[:-1]


def test_each_job_ends_once_and_no_actor_has_more_in_hand_than_it_may():
    jobs, in_hand, most, ended = range(9), Counter(), Counter(), []

    def start(actor, job):
        in_hand[actor] += 1
        most[actor] = max(most[actor], in_hand[actor])
        return actor, job

    waiting = [None, *jobs[:3], None, None, *jobs[3:]]
    for done in spread(OneEndsAtATime(), ["a", "b"], waiting, start):
        if done:
            job, (actor, begun) = done
            assert job == begun
            in_hand[actor] -= 1
            ended.append(job)
    assert sorted(ended) == [*jobs]
    assert most == {"a": IN_FLIGHT_PER_ACTOR, "b": IN_FLIGHT_PER_ACTOR}


def test_without_jobs_nothing_is_waited_for():
    assert list(spread(OneEndsAtATime(), ["a"], [], lambda actor, job: job)) == []
