"""What happens when the machine fails: no room on the disk, folders that cannot be written, no more
files, files that change while they are read, a power cut. Needs root, for mounts.

machine.py CRIEUR SMTPSINK FOLDER
"""
import os, pathlib, re, signal, sqlite3, subprocess, sys, threading, time

crieur, sink, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
NOW = ["--now", "2021-08-31T09:00:00+02:00"]


def site(name, recipients=20, postings=40, settings=""):
    root = folder / name
    (root / "content/postings").mkdir(parents=True, exist_ok=True)
    (root / "content/site.yaml").write_text(
        f"title: Offres\nurl: https://emplois.example.org/\nmail:\n  from: offres@example.org\n{settings}")
    for n in range(postings):
        posting(root, n, "Texte. " * 200)
    (root / "content/recipients.csv").write_text("email\n" + "".join(f"r{n}@example.org\n" for n in range(recipients)))
    return root


def posting(root, n, text):
    (root / f"content/postings/p{n}.md").write_text(f"---\ntitle: Offre {n}\ncloses: 2021-09-{1 + n % 7:02}\n---\n\n{text}\n")


def run(root, *command, **options):
    return subprocess.run([crieur, "--site", root, *NOW, *command], capture_output=True, text=True, timeout=120, **options)


def whole(root):
    """Every page and feed ends as it should, and nothing half-written has its name."""
    for path in (root / "out").rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            end = path.read_bytes().rstrip()[-12:]
            wanted = {".html": b"</html>", ".atom": b"</feed>", ".rss": b"</rss>", ".json": b"}", ".ics": b"END:VCALENDAR"}.get(path.suffix)
            assert wanted is None or end.endswith(wanted[-12:]), f"{path} is not whole: {end}"


def expect(done, codes, *words):
    assert done.returncode in codes, f"exit {done.returncode}: {done.stderr}"
    assert "panicked" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, f"no `{word}` in: {done.stderr}"


def mails(root):
    return len(list((root / ".crieur/outbox").glob("*.eml")))


def each_left_once(root, count):
    """A second message to somebody on one day has the first one's name in the outbox, so the ledger is asked:
    what was tried again was in doubt, on record."""
    assert mails(root) == count, mails(root)
    ledger = sqlite3.connect(root / ".crieur/ledger.sqlite3")
    rows = ledger.execute("SELECT state, attempts, doubts FROM digests").fetchall()
    ledger.close()
    assert len(rows) == count, len(rows)
    wrong = [row for row in rows if row[0] != "sent" or row[1] > 1 + row[2]]
    assert not wrong, wrong
    return sum(attempts for _, attempts, _ in rows) - count


def disk_full():
    root = folder / "full"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", root], check=True)
    try:
        site("full")
        expect(run(root, "build"), [0])
        before = {p: p.read_bytes() for p in (root / "out").rglob("*") if p.is_file()}
        for n in range(40):
            posting(root, n, "Autre texte. " * 120)
        filler = open(root / "filler", "wb")
        try:
            while filler.write(b"x" * 4096):
                filler.flush()
        except OSError:
            pass
        try:
            filler.close()
        except OSError:
            pass
        expect(run(root, "build"), [75], "No space left")
        whole(root)
        assert all(p.exists() for p in before), "a file is gone"
        expect(run(root, "remind"), [75], "disk is full")
        assert mails(root) == 0, "something left although the ledger could not be written"
        (root / "filler").unlink()
        expect(run(root, "run"), [0])
        whole(root)
        each_left_once(root, 20)
    finally:
        subprocess.run(["umount", "-l", root], check=True)
    print("disk full: old files stayed whole, nothing was sent, the next run did all of it")


def read_only():
    root = site("readonly")
    expect(run(root, "build"), [0])
    before = {p: p.read_bytes() for p in (root / "out").rglob("*") if p.is_file()}
    posting(root, 0, "Neu")
    subprocess.run(["mount", "--bind", root / "out", root / "out"], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", root / "out"], check=True)
    expect(run(root, "build"), [78], "Read-only")
    # People are reminded all the same.
    done = run(root, "run")
    expect(done, [78], "Read-only")
    each_left_once(root, 20)
    subprocess.run(["umount", root / "out"], check=True)
    assert before == {p: p.read_bytes() for p in (root / "out").rglob("*") if p.is_file()}
    expect(run(root, "build"), [0])
    print("out/ read-only: said so, touched nothing, reminded all the same")


def no_permission():
    root = site("forbidden")
    expect(run(root, "run"), [0])
    for path in [folder, root, root / "content", root / "content/postings"]:
        os.chmod(path, 0o755)
    def nobody():
        os.setgid(65534)
        os.setuid(65534)
    posting(root, 0, "Neu")
    expect(run(root, "build", preexec_fn=nobody), [78], "ermission denied")
    expect(run(root, "remind", preexec_fn=nobody), [78], "ermission denied")
    os.chmod(root / "content/postings/p1.md", 0)
    done = run(root, "list", preexec_fn=nobody)
    expect(done, [0, 1], "p1.md", "ermission denied")
    assert "p2.md" in done.stdout or "Offre 2" in done.stdout
    print("no permission: said what and where; one unreadable posting stops no other")


def no_files():
    root = site("files")
    for limit in [4, 6, 8, 10, 12, 14, 16, 20, 24, 32]:
        done = subprocess.run(["bash", "-c", f'ulimit -n {limit}; exec "$@"', "x", crieur, "--site", root, *NOW, "run"],
                              capture_output=True, text=True, timeout=120)
        # The loader itself may find no file to open.
        assert "panicked" not in done.stderr, done.stderr
        assert done.returncode in (0, 1, 75, 78, 127), (limit, done.returncode, done.stderr)
        if (root / "out").exists():
            whole(root)
    expect(run(root, "run"), [0])
    whole(root)
    again = each_left_once(root, 20)
    print(f"out of file descriptors: no file was half written, nobody was told twice or never, {again} tried again")


def changing():
    root = site("changing", postings=200)
    stop = threading.Event()
    def author():
        n = 0
        while not stop.is_set():
            path = root / f"content/postings/p{n % 200}.md"
            if n % 3 == 0:
                path.unlink(missing_ok=True)
            elif n % 3 == 1:
                posting(root, n % 200, f"Texte {n}. " * (n % 500))
            else:
                path.write_bytes(path.read_bytes()[: n % 60] if path.exists() else b"")
            n += 1
    threads = [threading.Thread(target=author)]
    threads[0].start()
    for _ in range(25):
        expect(run(root, "build"), [0, 1])
        whole(root)
    stop.set()
    threads[0].join()
    for n in range(200):
        posting(root, n, "Ruhe")
    expect(run(root, "build"), [0])
    fresh = run(root, "build", "--out", root / "fresh")
    expect(fresh, [0])
    assert subprocess.run(["diff", "-rq", "-x", ".published", root / "out", root / "fresh"]).returncode == 0
    print("postings that change while they are read: 25 builds, every file whole, the last one right")


def ended():
    """SIGTERM in each phase."""
    root = site("ended", recipients=300, postings=300)
    begin = time.monotonic()
    expect(run(root, "run"), [0])
    length = time.monotonic() - begin
    for path in [root / "out", root / ".crieur"]:
        subprocess.run(["rm", "-rf", path], check=True)
    for step in range(40):
        process = subprocess.Popen([crieur, "--site", root, *NOW, "run"], stderr=subprocess.PIPE, text=True)
        time.sleep(length * step / 40)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=60)[1]
        assert "panicked" not in error and process.returncode in (0, -signal.SIGTERM), (process.returncode, error)
        if (root / "out").exists():
            whole(root)
    expect(run(root, "run"), [0])
    whole(root)
    again = each_left_once(root, 300)
    print(f"SIGTERM at 40 moments of a run: every file whole, each digest once, {again} tried again")


def power():
    """A mark is on the disk before the message that it is about leaves: what a power cut can lose was
    never sent. WAL is written, then synced; the message follows."""
    root = folder / "power"
    (folder / "log").touch()
    server = subprocess.Popen([sink, "--port", "0", "--log", folder / "log", "--for", "120"], stdout=subprocess.PIPE, text=True)
    port = next(line.split()[1] for line in server.stdout if line.startswith("LISTENING"))
    site("power", 30, 3, f"  transport: smtp\n  smtp: {{ host: 127.0.0.1, port: {port}, connections: 1 }}\n")
    trace = folder / "trace"
    subprocess.run(["strace", "-f", "-y", "-s", "5000", "-o", trace, "-e", "trace=fdatasync,fsync,write,writev,sendto,pwrite64",
                    crieur, "--site", root, *NOW, "-q", "remind"], check=True)
    server.terminate()
    # Ids of messages: in what was written to the log, in what was written before a sync that is not over
    # yet, by its thread, and on the disk.
    written, syncing, on_disk = set(), {}, set()
    messages, wrong = 0, 0
    for line in open(trace, errors="replace"):
        thread = line.split()[0]
        if re.search(r"(fdatasync|fsync)\(\d+<[^>]*ledger\.sqlite3-wal>", line):
            if "<unfinished" in line:
                syncing[thread] = set(written)
            else:
                on_disk |= written
        elif re.search(r"<\.\.\. (fdatasync|fsync) resumed>", line):
            on_disk |= syncing.pop(thread, set())
        elif "pwrite64" in line and "ledger.sqlite3-wal" in line:
            written |= set(re.findall(r"<[0-9a-f]+@[^<>]+>", line))
        elif re.search(r"(write|writev|sendto)\(\d+<(TCP|socket)", line) and "Message-ID: " in line:
            messages += 1
            wrong += re.search(r"Message-ID: (<[^>]+>)", line)[1] not in on_disk
    assert messages == 30, messages
    assert wrong == 0, f"{wrong} messages left before their mark was synced"
    print(f"power cut: before each of {messages} messages its mark was written and synced")


folder.mkdir(parents=True, exist_ok=True)
for check in (disk_full, read_only, no_permission, no_files, changing, ended, power):
    check()
