//! Sites of any size whose postings have the length and the mix of real ones, the same on every
//! machine: the only input is a number.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use fastrand::Rng;

/// The instant that every command of the benchmark is told.
pub const NOW: &str = "2026-06-15T10:00:00Z";

/// A site to write.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How many postings there are.
    pub postings: usize,
    /// Of a hundred postings, how many are open.
    pub open: usize,
    /// How many people are on the mailing list.
    pub recipients: usize,
}

const SETTINGS: &str = "\
title: Offres de la ville
url: https://emplois.example.org/
language: fr
timezone: Europe/Paris
author: { name: La ville, email: emplois@example.org }
ids: { authority: emplois.example.org, since: 2021 }
feeds: { by: [domain, team, contract, organisation] }
mail:
  from: \"La ville <emplois@example.org>\"
  list_id: emplois.example.org
unsubscribe: { mailto: desabonnement@example.org }
";

/// Writes the site.
///
/// # Errors
/// When the file system refuses.
pub fn write(folder: &Path, shape: Shape) -> io::Result<()> {
    fs::create_dir_all(folder.join("content/postings"))?;
    fs::write(folder.join("content/site.yaml"), SETTINGS)?;
    for number in 0..shape.postings {
        let text = posting(number, shape);
        // Folders by the thousand, as people keep archives.
        let place = folder.join(format!("content/postings/{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&place)?;
        }
        fs::write(place.join(format!("offre-{number:06}.md")), text)?;
    }
    recipients(folder, shape)
}

/// Changes a word in the text of one posting.
///
/// # Errors
/// When the file system refuses.
pub fn touch(folder: &Path, number: usize) -> io::Result<()> {
    let name = format!("content/postings/{:03}/offre-{number:06}.md", number / 1000);
    let path = folder.join(name);
    let mut text = fs::read_to_string(&path)?;
    text.push_str("\nNous répondons à toutes les candidatures.\n");
    fs::write(path, text)
}

const ROLES: &[&str] = &[
    "Développeuse ou développeur",
    "Designer d’interface",
    "Chargée ou chargé de déploiement",
    "Cheffe ou chef de projet",
    "Data engineer",
    "Administratrice ou administrateur système",
    "Juriste",
    "Jardinière ou jardinier",
    "Responsable de produit",
    "Comptable",
];
const CONTRACTS: &[&str] = &["CDI", "CDD", "indépendant", "stage", "contractuel", "alternance"];
const DOMAINS: &[&str] = &[
    "Développement",
    "Design",
    "Données",
    "Déploiement",
    "Sécurité",
    "Produit",
    "Droit",
    "Comptabilité",
    "Espaces verts",
    "Accueil",
    "Culture",
    "Santé",
];
const TECHNOLOGIES: &[&str] = &["Rust", "Python", "PostgreSQL", "JavaScript", "Linux", "Figma"];
const PLACES: &[&str] = &["Paris", "Lyon", "Marseille", "Lille", "Rennes", "Brest", "Grenoble"];
const HEADINGS: &[&str] = &[
    "Qui sommes-nous ?",
    "Vos missions",
    "Votre profil",
    "Modalités",
    "Pour postuler",
    "Ce que nous offrons",
    "L’équipe",
];
const WORDS: &[&str] = &[
    "le",
    "la",
    "les",
    "une",
    "des",
    "de",
    "du",
    "et",
    "à",
    "pour",
    "avec",
    "dans",
    "sur",
    "par",
    "qui",
    "nous",
    "vous",
    "notre",
    "votre",
    "équipe",
    "produit",
    "service",
    "public",
    "numérique",
    "usagers",
    "projet",
    "besoin",
    "travail",
    "données",
    "développement",
    "déploiement",
    "terrain",
    "partenaires",
    "mission",
    "ville",
    "agents",
    "mettre",
    "œuvre",
    "améliorer",
    "construire",
    "accompagner",
    "comprendre",
    "participer",
    "qualité",
    "autonomie",
    "expérience",
    "sens",
    "intérêt",
    "général",
    "ouvert",
    "code",
    "simple",
    "accessible",
    "mesurer",
    "impact",
    "chaque",
    "semaine",
    "premiers",
    "mois",
    "d’écoute",
    "l’accueil",
    "aujourd’hui",
    "régulièrement",
];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// One posting's file. The middle half of real ones has 2,900 to 5,000 bytes, the longest 18,000.
fn posting(number: usize, shape: Shape) -> String {
    let mut rng = Rng::with_seed(number as u64);
    let teams = (shape.postings / 20).clamp(10, 2_000);
    let mut text = String::with_capacity(6_000);
    let open = number * 37 % 100 < shape.open;
    let _ = writeln!(text, "---");
    let _ = writeln!(text, "title: \"{} n° {number}\"", pick(&mut rng, ROLES));
    let _ = writeln!(text, "roles: {}", pick(&mut rng, ROLES));
    // A few teams have many postings, many have a few.
    let (a, b) = (rng.usize(..teams), rng.usize(..teams));
    let _ = writeln!(text, "equipe: Équipe {}", a.min(b));
    if rng.u8(..100) < 70 {
        let _ = writeln!(text, "contrat: {}", pick(&mut rng, CONTRACTS));
    }
    if rng.u8(..100) < 10 {
        let _ = writeln!(text, "type: friend\nfriend: Partenaire {}", rng.usize(..teams));
    }
    let domain = pick(&mut rng, DOMAINS);
    match rng.u8(..10) {
        0..=1 => {}
        2..=7 => {
            let _ = writeln!(text, "domaines: {domain}");
        }
        _ => {
            let _ = writeln!(text, "domaines:\n  - {domain}\n  - {}", pick(&mut rng, DOMAINS));
        }
    }
    if rng.u8(..10) < 3 {
        let _ = writeln!(text, "technologies: [{}]", pick(&mut rng, TECHNOLOGIES));
    }
    let _ = writeln!(text, "lieu: {}", pick(&mut rng, PLACES));
    let (month, day) = (rng.u8(1..=5), rng.u8(1..=28));
    let _ = writeln!(text, "post_ouvert: 2026-{month:02}-{day:02}");
    if rng.u8(..10) < 8 {
        // What is open closes within the next half year.
        let (month, day) = (rng.u8(7..=12), rng.u8(1..=28));
        let _ = writeln!(text, "poste_ferme: 2026-{month:02}-{day:02}");
    }
    let _ = writeln!(text, "contact: recrutement-{}@example.org", rng.usize(..50));
    let _ = writeln!(text, "open: {open}\n---\n");
    body(&mut rng, &mut text);
    text
}

fn body(rng: &mut Rng, text: &mut String) {
    // The sum of a few even numbers is nearly normal; lengths are normal on a logarithmic scale.
    let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
    let length = ((8.2 + 0.45 * normal).exp() as usize).clamp(200, 18_000);
    let end = text.len() + length;
    if rng.u8(..100) < 8 {
        text.push_str("<style>.tag { color: red; }</style>\n\nNous <b>recrutons</b>.<br>\n\n");
    }
    while text.len() < end {
        let _ = writeln!(text, "## {}\n", pick(rng, HEADINGS));
        for _ in 0..rng.u8(1..=2) {
            sentences(rng, text, 4);
            text.push_str("\n\n");
        }
        if rng.bool() {
            for _ in 0..rng.u8(3..=7) {
                text.push_str("- ");
                sentences(rng, text, 1);
                text.push('\n');
            }
            text.push('\n');
        }
        if rng.u8(..10) == 0 {
            let _ = writeln!(text, "En savoir plus : [la page de l’équipe](/equipe.html)\n");
        }
    }
}

fn sentences(rng: &mut Rng, text: &mut String, most: usize) {
    for sentence in 0..rng.usize(1..=most) {
        if sentence > 0 {
            text.push(' ');
        }
        for word in 0..rng.usize(8..20) {
            if word > 0 {
                text.push(' ');
            }
            let next = pick(rng, WORDS);
            if rng.u8(..40) == 0 {
                let _ = write!(text, "**{next}**");
            } else {
                text.push_str(next);
            }
        }
        text.push('.');
    }
}

/// The mailing list, with varied interests: a few dozen combinations are much more usual than
/// others.
fn recipients(folder: &Path, shape: Shape) -> io::Result<()> {
    let file = fs::File::create(folder.join("content/recipients.csv"))?;
    let mut file = BufWriter::new(file);
    writeln!(file, "email,name,language,domains,contracts,cadence,weekday")?;
    let mut rng = Rng::with_seed(7);
    for number in 0..shape.recipients {
        let language = if rng.u8(..10) == 0 { "en" } else { "fr" };
        let domains = match rng.u8(..10) {
            0..=3 => String::new(),
            4..=7 => pick(&mut rng, DOMAINS).to_owned(),
            _ => format!("{};{}", pick(&mut rng, DOMAINS), pick(&mut rng, DOMAINS)),
        };
        let contracts = if rng.u8(..4) == 0 { pick(&mut rng, CONTRACTS) } else { "" };
        let weekly = if rng.u8(..10) == 0 { "weekly,monday" } else { "daily," };
        writeln!(
            file,
            "personne.{number}@example.org,Personne {number},{language},{domains},{contracts},{weekly}"
        )?;
    }
    file.flush()
}
