#!/usr/bin/env python3
"""replay.py CRIEUR BUNDLE WORK [STEP]: builds a year of real history, day after day, in one site.

BUNDLE is a git bundle with one commit a day; its files become content/postings of a site in WORK,
which is a clone with that history. Every STEP-th day (default 10) is checked as a whole:

- a second build of the day touches no file;
- between two days only files whose bytes changed are touched;
- the three formats of a feed have the same entries, in the same order;
- an entry's id never changes, and its `updated` is the last commit that touched its file;
- no open posting past its closing date is in a feed.

Feeds of each checked day are kept in WORK/days/DAY for the judges.
"""
import hashlib, json, os, shutil, subprocess, sys
import xml.etree.ElementTree as ET
from datetime import date, timedelta

ATOM = "{http://www.w3.org/2005/Atom}"
TERMS = "{http://purl.org/dc/terms/}"


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


def tree(folder):
    """Every file with its bytes' hash and its time of modification."""
    found = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, folder)] = (digest, os.stat(path).st_mtime_ns)
    return found


def touched(before, after):
    return {path for path, state in after.items() if before.get(path, (None, None))[1] != state[1]}


def changed(before, after):
    return {path for path, state in after.items() if before.get(path, (None, None))[0] != state[0]}


def entries(out, stem):
    atom = ET.parse(f"{out}/{stem}.atom").getroot()
    rss = ET.parse(f"{out}/{stem}.rss").getroot()
    with open(f"{out}/{stem}.json") as file:
        items = json.load(file)["items"]
    return (
        [entry.findtext(f"{ATOM}id") for entry in atom.iter(f"{ATOM}entry")],
        [item.findtext("guid") for item in rss.iter("item")],
        [item["id"] for item in items],
    )


def main():
    crieur, bundle, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
    step = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    shutil.rmtree(work, ignore_errors=True)
    site = f"{work}/site"
    os.makedirs(f"{site}/content")
    with open(f"{site}/content/site.yaml", "w") as file:
        file.write("title: Emplois\nurl: https://emplois.example.org/\n")
    postings = f"{site}/content/postings"
    run("git", "-c", "init.defaultBranch=main", "clone", "-q", bundle, postings)
    days = {}
    for line in run("git", "-C", postings, "log", "--reverse", "--format=%H %cs", "origin/main").splitlines():
        commit, day = line.split()
        days[day] = commit
    problems, updated, last, checked = [], {}, None, 0
    day, end = date.fromisoformat(min(days)), date.fromisoformat(max(days))
    before, number = {}, 0
    while day <= end:
        if str(day) in days:
            run("git", "-C", postings, "checkout", "-q", "--force", days[str(day)])
            last = days[str(day)]
        now = f"{day}T20:00:00Z"
        result = subprocess.run([crieur, "--site", site, "--now", now, "build"], text=True, capture_output=True)
        if result.returncode not in (0, 1):
            problems.append(f"{day}: exit {result.returncode}: {result.stderr.strip()}")
        after = tree(f"{site}/out")
        extra = touched(before, after) - changed(before, after)
        if extra:
            problems.append(f"{day}: touched without a change: {sorted(extra)[:5]}")
        before = after
        atom = ET.parse(f"{site}/out/feed.atom").getroot()
        listed = json.loads(run(crieur, "--site", site, "--now", now, "list", "--all", "--format", "json"))
        by_id = {row["id"]: row for row in listed}
        for entry in atom.iter(f"{ATOM}entry"):
            identity, at = entry.findtext(f"{ATOM}id"), entry.findtext(f"{ATOM}updated")
            row = by_id.get(identity)
            if row is None or row["state"] != "open":
                problems.append(f"{day}: {identity} is in the feed and not open")
                continue
            if updated.get(identity) != at or number % step == 0:
                name = row["path"].removeprefix("content/postings/")
                commit = run("git", "-C", postings, "log", "-1", "--format=%cI", "--", name).strip()
                if commit[:19] != at[:19]:
                    problems.append(f"{day}: {identity}: updated {at}, last commit {commit}")
            updated[identity] = at
            closes = entry.findtext(f"{TERMS}valid")
            if closes != row["closes"]:
                problems.append(f"{day}: {identity}: dcterms:valid {closes}, closes {row['closes']}")
            if closes and closes[:10] < str(day):
                problems.append(f"{day}: {identity} closed on {closes} and is in the feed")
        if number % step == 0:
            subprocess.run([crieur, "--site", site, "--now", now, "build"], text=True, capture_output=True)
            again = tree(f"{site}/out")
            if again != before:
                problems.append(f"{day}: a second build touched {sorted(touched(before, again))[:5]}")
            for here, _, names in os.walk(f"{site}/out"):
                for name in names:
                    if name.endswith(".atom"):
                        stem = os.path.relpath(os.path.join(here, name), f"{site}/out")[:-5]
                        ids = entries(f"{site}/out", stem)
                        if not ids[0] == ids[1] == ids[2] or len(set(ids[0])) != len(ids[0]):
                            problems.append(f"{day}: {stem}: formats differ")
            shutil.copytree(f"{site}/out", f"{work}/days/{day}")
            checked += 1
        day += timedelta(days=1)
        number += 1
    for problem in problems[:50]:
        print(problem)
    print(f"replay {'FAIL' if problems else 'ok'}: {number} days, {checked} kept, {len(updated)} postings, {len(problems)} problems")
    sys.exit(bool(problems))


main()
