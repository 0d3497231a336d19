"""Kills the program at random moments while it sends, starts it again until it is done, and compares
the ledger with what the server took.

kill.py CRIEUR SMTPSINK RECIPIENTS KILLS
"""
import json, pathlib, random, sqlite3, subprocess, sys, tempfile, time

crieur, sink, recipients, kills = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random.seed(recipients * 1000 + kills)
site = pathlib.Path(tempfile.mkdtemp())
(site / "content/postings").mkdir(parents=True)
log = site / "server.jsonl"
log.touch()
server = subprocess.Popen([sink, "--port", "0", "--pipelining", "on", "--log", log, "--for", "900"],
                          stdout=subprocess.PIPE, text=True)
port = next(line.split()[1] for line in server.stdout if line.startswith("LISTENING"))
(site / "content/site.yaml").write_text(
    "title: Offres\nurl: https://emplois.example.org/\nmail:\n  from: offres@example.org\n  transport: smtp\n"
    f"  smtp: {{ host: 127.0.0.1, port: {port}, connections: 4 }}\n")
for n in range(20):
    (site / f"content/postings/p{n}.md").write_text(
        f"---\ntitle: Offre {n}\ndomains: d{n % 5}\ncloses: 2021-09-{1 + n % 7:02}\n---\n\nTexte\n")
with open(site / "content/recipients.csv", "w") as f:
    f.write("email,domains\n")
    for n in range(recipients):
        f.write(f"r{n}@example.org,d{n % 5}\n")

command = [crieur, "--site", site, "--now", "2021-08-31T09:00:00+02:00", "remind"]
killed, ends = 0, []
begin = time.monotonic()
subprocess.run([*command, "--dry-run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
start = time.monotonic() - begin


def moment(run):
    """Waits for a random moment: of the start and the planning, or, mostly, of the sending."""
    if random.random() < 0.3:
        time.sleep(random.uniform(0, 1.2 * start))
        return
    before, wanted = log.stat().st_size, random.uniform(0, 12_000)
    while run.poll() is None and log.stat().st_size < before + wanted:
        time.sleep(0.001)


while True:
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if killed < kills:
        moment(run)
        if run.poll() is None:
            run.kill()
            run.wait()
            killed += 1
            continue
    error = run.communicate()[1]
    ends.append((run.returncode, error.strip()))
    if run.returncode == 0:
        break
    if run.returncode != 75 or len(ends) > 20:
        sys.exit(f"unexpected: {ends}")
server.terminate()
server.wait()

taken = {}
for line in open(log):
    event = json.loads(line)
    if event["event"] == "accepted":
        taken.setdefault(event["rcpt"], []).append((event["message_id"], event["sha256_full"]))
ledger = sqlite3.connect(site / ".crieur/ledger.sqlite3")
rows = ledger.execute("SELECT recipient, state, message_id, doubts FROM digests").fetchall()
doubts = {recipient: count for recipient, _, _, count in rows}
twice = {rcpt for rcpt, messages in taken.items() if len(messages) > 1}
problems = [
    ("not accepted", recipients - len(taken)),
    ("accepted with another message", sum(len(set(m)) > 1 for m in taken.values())),
    ("twice without a doubt on record", sum(len(taken[r]) > 1 + doubts.get(r, 0) for r in twice)),
    ("not sent in the ledger", sum(state != "sent" for _, state, _, _ in rows)),
    ("ledger and server disagree", sum(taken.get(r, [("", "")])[0][0] != m for r, _, m, _ in rows)),
    ("rows too few", recipients - len(rows)),
]
print(f"{recipients} recipients, {killed} kills, {len(ends)} runs that ended; "
      f"{sum(doubts.values())} doubts on record, {len(twice)} accepted twice")
for what, count in problems:
    if count:
        print(f"FAIL: {what}: {count}")
sys.exit(any(count for _, count in problems) or killed < kills or not doubts)
