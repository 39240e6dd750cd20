from types import SimpleNamespace

from seedsweep.workers.generation.celery_app import queue_of
from seedsweep.workers.generation.celery_task import Subscription


class Consumer:
    """What of a Celery worker's consumer a subscription needs; it does all at once."""

    task_consumer = True

    def __init__(self):
        self.queues = []

    def call_soon(self, step, *arguments):
        step(*arguments)

    def add_task_queue(self, queue, no_ack):
        assert no_ack
        self.queues.append(queue)

    def cancel_task_queue(self, queue):
        self.queues.remove(queue)


def test_a_worker_takes_units_of_one_model_at_a_time():
    consumer = Consumer()
    subscription = Subscription(SimpleNamespace(consumer=consumer))
    for model_id in ("", "left", "left", "right"):
        subscription.follow(model_id)
    assert consumer.queues == [queue_of("right")]


def test_a_broker_that_forgot_which_models_are_wanted_takes_no_worker_from_its_model():
    consumer = Consumer()
    subscription = Subscription(SimpleNamespace(consumer=consumer))
    subscription.follow("left")
    subscription.follow("")
    assert consumer.queues == [queue_of("left")]
