//! The same site for Hugo: the same pages, a calendar for each, and the same feeds in three formats
//! for everything and for every value of a facet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const SETTINGS: &str = r#"
baseURL = "https://emplois.example.org/"
title = "Offres de la ville"
languageCode = "fr"
disableKinds = ["section"]
timeout = "600s"
[taxonomies]
domaine = "domaines"
equipe = "equipe"
contrat = "contrat"
friend = "friend"
[mediaTypes."application/atom+xml"]
suffixes = ["atom"]
[mediaTypes."application/rss+xml"]
suffixes = ["rss"]
[outputFormats.ATOM]
mediaType = "application/atom+xml"
baseName = "feed"
[outputFormats.RSS]
mediaType = "application/rss+xml"
baseName = "feed"
[outputFormats.JSON]
mediaType = "application/json"
baseName = "feed"
isPlainText = true
[outputFormats.Calendar]
mediaType = "text/calendar"
baseName = "event"
isPlainText = true
[outputs]
home = ["HTML", "RSS", "ATOM", "JSON"]
term = ["HTML", "RSS", "ATOM", "JSON"]
page = ["HTML", "Calendar"]
[markup.goldmark.renderer]
unsafe = true
"#;

const PAGE: &str = r#"<!DOCTYPE html>
<html lang="fr"><head><meta charset="utf-8"><title>{{ .Title }}</title>
<meta name="description" content="{{ plainify .Summary | truncate 300 }}"><link rel="canonical" href="{{ .Permalink }}"></head>
<body><header><a href="/">{{ .Site.Title }}</a></header><main><h1>{{ .Title }}</h1>
<dl>{{ with .Params.roles }}<dt>Métier</dt><dd>{{ . }}</dd>{{ end }}{{ with .Params.equipe }}<dt>Équipe</dt><dd>{{ . }}</dd>{{ end }}{{ with .Params.contrat }}<dt>Contrat</dt><dd>{{ . }}</dd>{{ end }}{{ with .Params.lieu }}<dt>Lieu</dt><dd>{{ . }}</dd>{{ end }}</dl>
{{ with .Params.poste_ferme }}<p>Ferme le {{ . }}</p>{{ end }}
{{ .Content }}</main></body></html>
"#;

const LIST: &str = r#"<!DOCTYPE html>
<html lang="fr"><head><meta charset="utf-8"><title>{{ .Title }}</title></head>
<body><main><h1>{{ .Title }}</h1><ul>
{{ $pages := cond .IsHome .Site.RegularPages .Pages }}{{ range where $pages "Params.open" true }}<li><h2><a href="{{ .RelPermalink }}">{{ .Title }}</a></h2><p>{{ .Params.equipe }}</p>{{ with .Params.poste_ferme }}<p>Ferme le {{ . }}</p>{{ end }}</li>
{{ end }}</ul></main></body></html>
"#;

const RSS: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel><title>{{ .Title }}</title><link>{{ .Permalink }}</link><description>{{ .Title }}</description>
{{ $pages := cond .IsHome .Site.RegularPages .Pages }}{{ range where $pages "Params.open" true }}<item><title>{{ .Title }}</title><link>{{ .Permalink }}</link><guid>{{ .Permalink }}</guid><pubDate>{{ .Date.Format "Mon, 02 Jan 2006 15:04:05 -0700" }}</pubDate><description>{{ plainify .Summary }}</description><content:encoded>{{ .Content | html }}</content:encoded></item>
{{ end }}</channel></rss>
"#;

const ATOM: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>{{ .Title }}</title><id>{{ .Permalink }}</id>
{{ $pages := cond .IsHome .Site.RegularPages .Pages }}{{ range where $pages "Params.open" true }}<entry><title>{{ .Title }}</title><id>{{ .Permalink }}</id><updated>{{ .Date.Format "2006-01-02T15:04:05Z07:00" }}</updated><summary>{{ plainify .Summary }}</summary><content type="html">{{ .Content | html }}</content></entry>
{{ end }}</feed>
"#;

const JSON: &str = r#"{"version":"https://jsonfeed.org/version/1.1","title":{{ .Title | jsonify }},"items":[
{{ $pages := cond .IsHome .Site.RegularPages .Pages }}{{ range $at, $page := where $pages "Params.open" true }}{{ if $at }},{{ end }}{"id":{{ .Permalink | jsonify }},"title":{{ .Title | jsonify }},"content_html":{{ .Content | jsonify }},"summary":{{ plainify .Summary | jsonify }}}
{{ end }}]}
"#;

const CALENDAR: &str = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:hugo\nBEGIN:VEVENT\nUID:{{ .Permalink }}\nSUMMARY:{{ .Title }}\nDTSTART;VALUE=DATE:{{ .Params.poste_ferme }}\nEND:VEVENT\nEND:VCALENDAR\n";

/// Hugo's program, where it is installed: `HUGO`, or the one on the path.
pub fn find() -> Option<PathBuf> {
    let program = std::env::var_os("HUGO").map_or_else(|| "hugo".into(), PathBuf::from);
    let found =
        Command::new(&program).arg("version").output().is_ok_and(|out| out.status.success());
    found.then_some(program)
}

/// Makes the postings of a site a site of Hugo's.
pub fn prepare(site: &Path, hugo: &Path) -> io::Result<()> {
    fs::create_dir_all(hugo.join("layouts/_default"))?;
    let mount = format!(
        "[[module.mounts]]\nsource = \"{}\"\ntarget = \"content/postings\"\n",
        site.join("content/postings").display()
    );
    fs::write(hugo.join("hugo.toml"), format!("{SETTINGS}{mount}"))?;
    for (name, text) in [
        ("single.html", PAGE),
        ("list.html", LIST),
        ("list.rss.xml", RSS),
        ("list.rss.rss", RSS),
        ("list.atom.atom", ATOM),
        ("list.json.json", JSON),
        ("single.calendar.ics", CALENDAR),
    ] {
        fs::write(hugo.join("layouts/_default").join(name), text)?;
    }
    Ok(())
}

/// The command that builds it.
pub fn command(program: &Path, hugo: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--quiet").arg("--source").arg(hugo).arg("--destination").arg(hugo.join("public"));
    command
}
