#!/usr/bin/env python3
"""year.py CRIEUR BUNDLE WORK [RECIPIENTS]: reminds 200 people of every kind through a year of history.

Day after day the files of the day are checked out, and the program runs, sometimes twice, sometimes
not at all. What the ledger says in the end is compared with the rules, worked out here once more
from what `list` printed each day:

- no stage of a posting with one closing date twice for one person, no two digests on one day;
- a stage is the smallest lead that is not smaller than the days left, or what the next weekly digest
  would bring too late;
- nothing is announced that was not open that day, and nothing that does not match;
- whoever could be told of a posting before it closed was.
"""
import json, os, random, re, sqlite3, subprocess, sys, unicodedata
from datetime import date, timedelta

crieur, bundle, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
people = int(sys.argv[4]) if len(sys.argv) > 4 else 200
random.seed(people)
LEADS = [7, 3, 1]


def git(*arguments):
    return subprocess.run(["git", *arguments], check=True, text=True, capture_output=True).stdout


site = f"{work}/site"
git("clone", "--quiet", bundle, f"{site}/content/postings")
log = git("-C", f"{site}/content/postings", "log", "--reverse", "--format=%H %cs").split()
commits = list(zip(log[0::2], [date.fromisoformat(day) for day in log[1::2]]))
with open(f"{site}/content/site.yaml", "w") as file:
    file.write("title: Emplois\nurl: https://emplois.example.org/\nmail: { from: emplois@example.org }\n"
               "recipients: recipients.csv\nreminders: { owners: true }\n")

domains = ["Développement", "Déploiement", "Produit", "Design", "Animation", "Coaching", "Autre"]
kinds = []
with open(f"{site}/recipients.csv", "w") as file:
    file.write("email;domains;contracts;junior;lead_days;cadence;weekday;new;language\n")
    for n in range(people):
        kind = {
            "email": f"r{n}@example.org",
            "domains": random.sample(domains, random.choice([0, 0, 1, 2])),
            "junior": random.random() < 0.05,
            "lead_days": random.choice([[], [], [1], [0], [14, 2], [30], [5, 4, 3, 2, 1]]),
            "weekday": random.choice([None, None, 0, 2, 4, 6]),
            "new": random.random() < 0.2,
        }
        kinds.append(kind)
        names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
        weekly = ["weekly", names[kind["weekday"]]] if kind["weekday"] is not None else ["", ""]
        file.write(";".join([
            kind["email"], ", ".join(kind["domains"]), "", "true" if kind["junior"] else "",
            ", ".join(map(str, kind["lead_days"])), *weekly, "true" if kind["new"] else "",
            random.choice(["fr", "en", ""])]) + "\n")


def term(text):
    ascii = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_.]+", "-", ascii).strip("-.")


known, could = {}, set()
first, last = commits[0][1], commits[-1][1]
day, head = first, 0
while day <= last:
    while head < len(commits) and commits[head][1] <= day:
        git("-C", f"{site}/content/postings", "checkout", "--quiet", commits[head][0])
        head += 1
    now = f"{day}T09:{random.randrange(60):02}:00+02:00"
    # One day in ten nothing runs, and one in ten the program runs twice.
    chance = random.random()
    runs = 0 if chance < 0.1 else 2 if chance > 0.9 else 1
    if runs:
        rows = json.loads(subprocess.run(
            [crieur, "--site", site, "--now", now, "list", "--all", "--format", "json"],
            check=True, text=True, capture_output=True).stdout)
        known[day] = {row["id"]: row for row in rows}
    for _ in range(runs):
        end = subprocess.run([crieur, "--site", site, "--now", now, "--quiet", "remind"], capture_output=True, text=True)
        if end.returncode not in (0, 1):
            sys.exit(f"{day}: {end.returncode}: {end.stderr}")
    day += timedelta(days=1)

ledger = sqlite3.connect(f"{site}/.crieur/ledger.sqlite3")
rows = ledger.execute(
    "SELECT recipient, digests.day, item.value ->> 'section', item.value ->> 'what', "
    "item.value ->> 'posting', item.value ->> 'closes', item.value ->> 'stage' "
    "FROM digests JOIN contents ON contents.id = content, json_each(entries) AS item ORDER BY digests.day").fetchall()
by_email = {kind["email"]: kind for kind in kinds}
problems = []


def matches(kind, row):
    wanted = {term(domain) for domain in kind["domains"]}
    return (not wanted or wanted & {term(domain) for domain in row["domains"]}) and not kind["junior"]


def ends(text):
    """The last day of a closing date; the corpus has whole days."""
    return date.fromisoformat(text[:10])


def next_digest(kind, day):
    if kind["weekday"] is None:
        return day + timedelta(days=1)
    return day + timedelta(days=7 - (day.weekday() - kind["weekday"]) % 7)


days = ledger.execute("SELECT recipient, day, count(*) FROM digests GROUP BY 1, 2 HAVING count(*) > 1").fetchall()
problems += [f"two digests: {row}" for row in days]
seen, told, sections = set(), set(), {}
for recipient, day, section, what, posting, closes, stage in rows:
    day = date.fromisoformat(day)
    sections[section] = sections.get(section, 0) + 1
    if day not in known or posting not in known[day]:
        problems.append(f"{recipient} {day}: {posting} was not there")
        continue
    row = known[day][posting]
    if section in ("closing", "new") and row["state"] != "open":
        problems.append(f"{recipient} {day} {section}: {posting} is {row['state']}")
    if section == "owner":
        continue
    kind = by_email[recipient]
    if section in ("closing", "new") and not kind["junior"] and not matches(kind, row):
        problems.append(f"{recipient} {day}: {posting} does not match")
    if stage is None:
        continue
    if (recipient, posting, closes, stage) in seen:
        problems.append(f"{recipient} {day}: {posting} {closes} stage {stage} twice")
    seen.add((recipient, posting, closes, stage))
    told.add((recipient, posting, closes))
    leads = [lead for lead in kind["lead_days"] or LEADS if lead >= row["days_left"]]
    late = ends(closes) < next_digest(kind, day)
    if stage != min(leads, default=None) and not (late and stage in (7, max(kind["lead_days"] or LEADS))):
        problems.append(f"{recipient} {day}: {posting} stage {stage} with {row['days_left']} days left")

announced, dated = 0, set()
for day, postings in known.items():
    for posting, row in postings.items():
        if row["state"] != "open" or not row["closes"]:
            continue
        dated.add((posting, row["closes"]))
        for kind in kinds:
            if kind["junior"] or not matches(kind, row):
                continue
            near = row["days_left"] <= max(kind["lead_days"] or LEADS)
            due = near and kind["weekday"] in (None, day.weekday()) or ends(row["closes"]) < next_digest(kind, day)
            if due:
                announced += 1
                if (kind["email"], posting, row["closes"]) not in told:
                    problems.append(f"{day}: nobody told {kind['email']} of {posting} closing {row['closes']}")
states = dict(ledger.execute("SELECT state, count(*) FROM digests GROUP BY 1").fetchall())
print(f"{len(known)} days with runs of {(last - first).days + 1}; {people} recipients; digests {states}; "
      f"items {sections}; {len(dated)} postings with a closing date, {announced} occasions checked")
for problem in problems[:20]:
    print("FAIL:", problem)
sys.exit(bool(problems) or not told)
