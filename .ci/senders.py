"""Several machines send the digests of one ledger on a server. One of them is killed every few
seconds, and the server is restarted once; then ledger and mail server are compared.

senders.py CRIEUR SMTPSINK LEDGER RECIPIENTS RESTART...
"""
import json, pathlib, random, subprocess, sys, tempfile, time

crieur, sink, ledger, recipients, restart = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:]
MACHINES, EVERY = 3, 3.0
random.seed(recipients)
folder = pathlib.Path(tempfile.mkdtemp())
log = folder / "server.jsonl"
log.touch()
server = subprocess.Popen([sink, "--port", "0", "--pipelining", "on", "--log", log, "--for", "900"],
                          stdout=subprocess.PIPE, text=True)
port = next(line.split()[1] for line in server.stdout if line.startswith("LISTENING"))


def query(text):
    out = subprocess.run(["psql", "-X", "-A", "-t", "-q", "-c", text, ledger], capture_output=True, text=True)
    return [line.split("|") for line in out.stdout.splitlines() if line]


sites = []
for machine in range(MACHINES):
    site = folder / f"machine{machine}"
    (site / "content/postings").mkdir(parents=True)
    (site / "content/site.yaml").write_text(
        f"title: Offres\nurl: https://emplois.example.org/\nledger: {ledger}\nmail:\n  from: offres@example.org\n"
        f"  transport: smtp\n  smtp: {{ host: 127.0.0.1, port: {port}, connections: 3 }}\n")
    for n in range(20):
        (site / f"content/postings/p{n}.md").write_text(
            f"---\ntitle: Offre {n}\ndomains: d{n % 5}\ncloses: 2021-09-{1 + n % 7:02}\n---\n\nTexte\n")
    with open(site / "content/recipients.csv", "w") as f:
        f.write("email,domains\n")
        for n in range(recipients):
            f.write(f"r{n}@example.org,d{n % 5}\n")
    sites.append(site)


def run(site):
    command = [crieur, "--site", site, "--now", "2021-08-31T09:00:00+02:00", "remind"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def accepted():
    return sum(line.count('"accepted"') for line in open(log))


begin = time.monotonic()
runs = [run(site) for site in sites]
killed, restarted, next_kill, ends = 0, False, begin + EVERY, []
while True:
    time.sleep(0.05)
    now = time.monotonic()
    if now - begin > 600:
        sys.exit(f"it does not end: {query('SELECT state, count(*) FROM digests GROUP BY state')} {ends[-3:]}")
    for at, process in enumerate(runs):
        if process.poll() is not None:
            ends.append((process.returncode, process.stderr.read().strip()))
            if process.returncode not in (0, 1, 75):
                sys.exit(f"unexpected: {ends[-1]}")
            runs[at] = run(sites[at])
    if now > next_kill:
        next_kill = now + EVERY
        done = accepted()
        if not restarted and done > recipients / 2:
            subprocess.run(restart, check=True)
            restarted = True
        elif done < recipients:
            at = random.randrange(MACHINES)
            if runs[at].poll() is None:
                runs[at].kill()
                runs[at].wait()
                killed += 1
            runs[at] = run(sites[at])
        elif restarted and query("SELECT count(*) FROM digests WHERE state = 'sent'") == [[str(recipients)]]:
            break
took = time.monotonic() - begin
for process in runs:
    process.terminate()
    process.wait()
server.terminate()
server.wait()

taken = {}
for line in open(log):
    event = json.loads(line)
    if event["event"] == "accepted":
        taken.setdefault(event["rcpt"], []).append((event["message_id"], event["sha256_full"]))
rows = query("SELECT recipient, state, message_id, doubts FROM digests")
doubts = {recipient: int(count) for recipient, _, _, count in rows}
twice = {rcpt for rcpt, messages in taken.items() if len(messages) > 1}
problems = [
    ("not accepted", recipients - len(taken)),
    ("accepted with another message", sum(len(set(m)) > 1 for m in taken.values())),
    ("twice without a doubt on record", sum(len(taken[r]) > 1 + doubts.get(r, 0) for r in twice)),
    ("not sent in the ledger", sum(state != "sent" for _, state, _, _ in rows)),
    ("ledger and server disagree", sum(taken.get(r, [("", "")])[0][0] != m for r, _, m, _ in rows)),
    ("rows too few or too many", abs(recipients - len(rows))),
]
print(f"{recipients} recipients, {MACHINES} machines, {killed} kills, the ledger's server restarted once, in {took:.0f} s; "
      f"{sum(doubts.values())} doubts on record, {len(twice)} accepted twice")
for what, count in problems:
    if count:
        print(f"FAIL: {what}: {count}")
sys.exit(any(count for _, count in problems) or killed < 5)
