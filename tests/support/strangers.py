"""What another user of this machine, who has no password, gets from what listens on its ports."""

import contextlib
import http.client
import socket
import ssl

import grpc
import psutil

HOST = "127.0.0.1"
SECONDS = 5.0

HTTP_REQUESTS = (
    *(("GET", path) for path in ("/", "/metrics", "/dir/assign", "/dir/status", "/logs")),
    *((method, "/stranger") for method in ("PUT", "POST", "DELETE")),
    ("POST", "/get_or_create_runtime_env"),
    ("POST", "/api/job_agent/jobs/"),
)
GRPC_METHODS = (
    *("ray.rpc.InternalKVGcsService/InternalKVKeys", "ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
    *("ray.rpc.NodeManagerService/GetNodeStats", "ray.rpc.ObjectManagerService/Pull"),
    *("ray.rpc.CoreWorkerService/Exit", "ray.rpc.LogService/ListLogs"),
    *("ray.rpc.RayletDriver/KVList", "ray.rpc.RayletDriver/ClusterInfo"),
    *("master_pb.Seaweed/Assign", "volume_server_pb.VolumeServer/VolumeServerStatus"),
    *("filer_pb.SeaweedFiler/ListEntries", "s3_pb.SeaweedS3IamCache/ListPolicies"),
)
OTHER_LANGUAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)


def listening(pids):
    """The ports that the processes listen on, each with the name of its process.

    One that ends meanwhile listens on none.
    """
    ports = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    ports[connection.laddr.port] = process.name()
    return ports


def stranger_gets(port):
    """What somebody without a password gets there, and whether anything was refused to him.

    Pages of nothing but numbers count as "metrics", whatever their path.
    """
    answers = {f"{method} {path}": _http(port, method, path) for method, path in HTTP_REQUESTS}
    answers |= {method: _grpc(port, method) for method in GRPC_METHODS}
    answers |= {"TLS": _tls(port), "Redis": _redis(port)}
    granted = {request for request, answer in answers.items() if answer == "granted"}
    granted |= {"metrics"} & set(answers.values())
    return granted, "refused" in answers.values()


def _http(port, method, path):
    connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
    try:
        connection.request(method, path, body=None if method == "GET" else b"{}")
        answer = connection.getresponse()
        if answer.read().startswith(b"# HELP"):
            return "metrics"
        named = {400: "not understood", 401: "refused", 403: "refused"}
        return named.get(
            answer.status, "no such page" if answer.status in (404, 405) else "granted"
        )
    except (OSError, http.client.HTTPException):
        return "no HTTP"
    finally:
        connection.close()


def _tls(port):
    """A server that wants certificates of its clients says so once it is asked for something."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((HOST, port), SECONDS) as plain,
            context.wrap_socket(plain) as secured,
        ):
            secured.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return "granted" if secured.recv(1) else "no TLS"
    except ssl.SSLError as error:
        return "refused" if "CERTIFICATE_REQUIRED" in str(error) else "no TLS"
    except OSError:
        return "no TLS"


def _grpc(port, method):
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        try:
            channel.unary_unary(f"/{method}")(b"", timeout=SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return "refused"
            return "no gRPC" if error.code() in OTHER_LANGUAGE else "granted"
        return "granted"


def _redis(port):
    try:
        with socket.create_connection((HOST, port), SECONDS) as plain:
            plain.sendall(b"KEYS *\r\n\r\n")
            answer = plain.recv(1000)
    except OSError:
        return "no Redis"
    return {b"*": "granted", b"-": "refused"}.get(answer[:1], "no Redis")
