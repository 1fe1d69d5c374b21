"""Resolves each name that it reads and connects at once: says how many addresses there were, and how many were refused."""

import errno
import socket
import sys


def is_refused(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.setblocking(False)
        return stream.connect_ex(address) == errno.EPERM


for line in sys.stdin:
    try:
        found = socket.getaddrinfo(line.strip(), 443, type=socket.SOCK_STREAM)
        refused = sum(is_refused(family, address) for family, _, _, _, address in found)
        print(len(found), refused, flush=True)
    except OSError as error:
        print(error, flush=True)
