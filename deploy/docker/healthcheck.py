"""Ask the services of this container whether they are well; ends with 1 where one is not.

    healthcheck.py PORT [--each-device]

With --each-device a worker for each visible device is asked, at PORT, PORT + 1, and so on. What
stands in for curl, which no image has; http.client, unlike urllib, follows no proxy variables.
"""

import http.client
import sys

SECONDS = 4


def fault(port: int) -> str:
    """Why the service on a port of this machine is not well; empty where it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace").strip()
        return "" if answer.status == 200 else f"Port {port}: {said}"
    except (OSError, http.client.HTTPException) as error:
        return f"Port {port} does not answer ({error!r})."
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Print every fault; returns the exit code."""
    first, count = int(arguments[0]), 1
    if "--each-device" in arguments:
        from seedsweep.workers.devices import visible_devices

        count = len(visible_devices())
    faults = [said for port in range(first, first + count) if (said := fault(port))]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
