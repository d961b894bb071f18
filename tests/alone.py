"""Run commands on a network that ends at this machine, and say whom they asked for and what they left behind.

Started by `test_alone.py`, as root, through `unshare`: its network is empty, and its processes end with it.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def question(packet):
    "The name that a DNS query asks for, and where the question ends"
    labels, at = [], 12
    while length := packet[at]:
        labels.append(packet[at+1:at+1+length].decode('ascii', 'backslashreplace'))
        at += length+1
    return '.'.join(labels), at+5


def answer_nothing(asked):
    "A name server that knows nobody, and remembers the names"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind(('127.0.0.1', 53))
        threading.current_thread().ready.set()
        while True:
            packet, visitor = door.recvfrom(4096)
            name, end = question(packet)
            asked.add(name)
            door.sendto(packet[:2]+b'\x81\x83\0\1\0\0\0\0\0\0'+packet[12:end], visitor) # There is no such name


def listen(called):
    "Every address outside this machine to which a packet is sent"
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as wire:
        wire.bind(('lo', 0))
        threading.current_thread().ready.set()
        while True:
            packet, (_, protocol, *_) = wire.recvfrom(65536)
            if protocol == 0x0800: target = socket.inet_ntop(socket.AF_INET, packet[16:20])
            elif protocol == 0x86dd: target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
            else: continue
            if not target.startswith('127.') and target != '::1': called.add(target)


def shut_in(asked, called):
    "Nobody is to be reached from here but the name server"
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as config:
        config.write('nameserver 127.0.0.1\n')
        config.flush()
        subprocess.run(['mount', '--bind', config.name, os.path.realpath('/etc/resolv.conf')], check=True)
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    subprocess.run(['ip', 'route', 'add', 'local', 'default', 'dev', 'lo'], check=True) # So that a call is heard, and refused
    subprocess.run(['ip', '-6', 'route', 'add', 'local', 'default', 'dev', 'lo'], capture_output=True) # Where there is IPv6
    for target, heard in ((answer_nothing, asked), (listen, called)):
        thread = threading.Thread(target=target, args=(heard,), daemon=True)
        thread.ready = threading.Event()
        thread.start()
        assert thread.ready.wait(10), f'{target.__name__} did not begin'


def start(name, command, folder):
    "One command, with a fresh home and nothing that says a machine is at work"
    home = folder/name/'home'
    home.mkdir(parents=True)
    told = ('CI', 'ORT_', 'XDG_', 'JUPYTER', 'IPYTHON', 'BIRDCLF', 'GITHUB', 'HF_', 'MPL', 'PIP_', 'PYTEST')
    kept = {key: value for key, value in os.environ.items() if not key.startswith(told)}
    output = open(folder/name/'said.txt', 'w', encoding='utf-8')
    return subprocess.Popen(command, cwd=folder/name, env=kept | dict(HOME=str(home)), stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def main(folder, seconds):
    "Run the brief commands of a JSON object to their end, and then leave the lasting ones so many seconds"
    asked, called, folder, told = set(), set(), Path(folder), json.load(sys.stdin)
    shut_in(asked, called)
    running = {name: start(name, command, folder) for name, command in (told['lasting'] | told['brief']).items()}
    end = time.monotonic()+900
    for name in told['brief']: running[name].wait(end-time.monotonic())
    time.sleep(seconds)
    left = {name: sorted(path.relative_to(folder/name/'home').as_posix() for path in (folder/name/'home').rglob('*') if path.is_file()) for name in running}
    said = {name: (folder/name/'said.txt').read_text(encoding='utf-8', errors='replace') for name in running}
    status = {name: process.poll() for name, process in running.items()}
    print(json.dumps(dict(asked=sorted(asked), called=sorted(called), left=left, said=said, status=status)))


if __name__ == '__main__': main(sys.argv[1], float(sys.argv[2]))
