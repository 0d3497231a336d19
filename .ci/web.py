"""The web server from outside: programs that open every link, one-click unsubscription, slow
connections, and how many requests it answers beside another server.

web.py scan CRIEUR SITE URL OUTBOX    opens every link in every message, and posts one, as mail programs do
web.py slow URL NUMBER         connections that say little, while others are served
web.py load OUT URL FILE...    requests a second, beside nginx with the same folder
"""
import email, email.policy, html, os, pathlib, re, resource, socket, subprocess, sys, tempfile, time, urllib.parse, urllib.request


def ask(method, url, body=None, headers={}):
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def scan(crieur, site, url, outbox):
    """Every link in every message, in headers and both parts."""
    people = lambda: subprocess.run([crieur, "--site", site, "recipients", "list", "--format", "csv"],
                                    capture_output=True, text=True, check=True).stdout
    before, links, mails = people(), set(), []
    for path in sorted(pathlib.Path(outbox).glob("*.eml")):
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        mails.append(mail)
        texts = [part.get_content() for part in mail.walk() if part.get_content_maintype() == "text"]
        for text in [*texts, str(mail["List-Unsubscribe"])]:
            links |= {html.unescape(link) for link in re.findall(r'https?://[^\s"<>]+', text) if link.startswith(url)}
    for link in sorted(links):
        for method in ("GET", "HEAD", "GET"):
            status, _ = ask(method, link)
            # Who confirmed and left has a link that does nothing any more, and is told so.
            assert status == 200 or (status == 400 and "/confirm?" in link), (method, link, status)
    assert people() == before, "looking at links changed the list"
    mail = next(mail for mail in mails if url in str(mail["List-Unsubscribe"]))
    (link,) = re.findall(r"<(http:[^>]+)>", str(mail["List-Unsubscribe"]))
    # As large providers do it: one field, no cookies, no page before.
    status, _ = ask("POST", link, b"List-Unsubscribe=One-Click", {"Content-Type": "application/x-www-form-urlencoded"})
    who = email.utils.parseaddr(str(mail["To"]))[1]
    after = people()
    assert status == 200 and re.search(rf"^{re.escape(who)},.*unsubscribed$", after, re.M), (status, after)
    print(f"{len(mails)} messages, {len(links)} links opened three times changed nothing; one click took {who} off")


def slow(url, number):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host = urllib.parse.urlparse(url)
    opened = []
    for at in range(number):
        connection = socket.create_connection((host.hostname, host.port), timeout=5)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " if at % 2 else b"POST /abonnement HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ne")
        opened.append(connection)
    took = []
    for _ in range(200):
        begin = time.monotonic()
        assert ask("GET", url)[0] == 200
        took.append(time.monotonic() - begin)
    # Those that do not go on are sent away.
    begin, left = time.monotonic(), len(opened)
    while left and time.monotonic() - begin < 60:
        time.sleep(1)
        still = []
        for connection in opened:
            connection.setblocking(False)
            try:
                if connection.recv(65536):
                    still.append(connection)
            except BlockingIOError:
                still.append(connection)
            except OSError:
                pass
        opened, left = still, len(still)
    took.sort()
    print(f"{number} slow connections: others were answered in {1000 * took[100]:.1f} ms (median), {1000 * took[-1]:.1f} ms at most; all were sent away within {time.monotonic() - begin:.0f} s")
    assert not left, f"{left} are still there"


def wrk(url, *options):
    out = subprocess.run(["wrk", "-t1", "-c50", "-d4s", *options, url], capture_output=True, text=True, check=True).stdout
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert not wrong, out
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def load(out, url, *files):
    folder = pathlib.Path(tempfile.mkdtemp())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"""{user} worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; tcp_nopush on; include /etc/nginx/mime.types; gzip on; gzip_types text/css application/atom+xml;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root {out}; add_header X-Content-Type-Options nosniff; }} }}
""")
    nginx = subprocess.Popen(["nginx", "-c", folder / "nginx.conf", "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        for file in files:
            size = (pathlib.Path(out) / file).stat().st_size
            theirs, ours = wrk(f"http://127.0.0.1:{port}/{file}"), wrk(url + file)
            print(f"{file} ({size} bytes): {ours:.0f} requests a second, nginx {theirs:.0f}: {ours / theirs:.2f} of it")
    finally:
        nginx.terminate()
        nginx.wait()


what, *arguments = sys.argv[1:]
if what == "scan":
    scan(*arguments)
elif what == "slow":
    slow(arguments[0], int(arguments[1]))
else:
    load(*arguments)
