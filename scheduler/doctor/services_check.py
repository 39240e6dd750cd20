"""Does anybody serve the campaigns that the broker knows?"""

from collections.abc import Iterator

from seedsweep.scheduler.campaign.progress import Broker, read_services
from seedsweep.scheduler.campaign.unserved import REMEDY, unknown_kinds
from seedsweep.scheduler.doctor.diagnosis import Diagnosis
from seedsweep.scheduler.quantities import count_words


def judge_services(broker: Broker) -> Iterator[Diagnosis]:
    """Say who serves, and who is missing while work waits.

    Raises `BrokerUnavailableError` if the broker does not answer, or not to us.
    """
    services = read_services(broker)
    ledger = broker.ledger
    counts = [c for name in ledger.campaigns() if (c := ledger.counts(name)) is not None]
    units = sum(count.waiting for count in counts)
    prompts = sum(count.ready for count in counts if count.state == "active")
    if not services.led:
        yield _missing("scheduler", "No scheduler leads, so nothing is queued.")
    if units and not services.workers:
        wait = "wait" if units > 1 else "waits"
        yield _missing("worker", f"No worker lives, and {count_words(units, 'unit')} {wait}.")
    for unknown in unknown_kinds(services.demand, services.signs) if services.led else ():
        remedy = f"{REMEDY[0].upper()}{REMEDY[1:]}."
        yield Diagnosis("services", "warning", f"{unknown.says}.", remedy)
    if prompts and not services.analysts:
        wait = "wait" if prompts > 1 else "waits"
        yield _missing("analyst", f"No analyst lives, and {count_words(prompts, 'prompt')} {wait}.")
    if services.led:
        analysts = count_words(services.analysts, "analyst")
        workers = count_words(services.workers, "worker")
        yield Diagnosis("services", "fine", f"A scheduler leads; {analysts} and {workers} live.")


def _missing(service: str, says: str) -> Diagnosis:
    remedy = f"Start one the way you deployed, or `seedsweep {service}`."
    return Diagnosis("services", "warning", says, remedy)
