//! The country that a zone's clocks are those of, as the database of time zones has it.

use chrono_tz::Tz;

/// Countries with the zones of which they are the only one, or the one that is named.
const ZONES: &[(&str, &[&str])] = &[
    ("AD", &["Europe/Andorra"]),
    ("AE", &["Asia/Dubai"]),
    ("AL", &["Europe/Tirane"]),
    ("AT", &["Europe/Vienna"]),
    (
        "AU",
        &[
            "Australia/Adelaide",
            "Australia/Brisbane",
            "Australia/Darwin",
            "Australia/Hobart",
            "Australia/Melbourne",
            "Australia/Perth",
            "Australia/Sydney",
        ],
    ),
    ("BA", &["Europe/Sarajevo"]),
    ("BE", &["Europe/Brussels"]),
    ("BF", &["Africa/Ouagadougou"]),
    ("BG", &["Europe/Sofia"]),
    ("BJ", &["Africa/Porto-Novo"]),
    ("BL", &["America/St_Barthelemy"]),
    ("BR", &["America/Bahia", "America/Fortaleza", "America/Manaus", "America/Sao_Paulo"]),
    ("BY", &["Europe/Minsk"]),
    (
        "CA",
        &[
            "America/Edmonton",
            "America/Halifax",
            "America/Moncton",
            "America/Montreal",
            "America/Regina",
            "America/St_Johns",
            "America/Toronto",
            "America/Vancouver",
            "America/Winnipeg",
        ],
    ),
    ("CD", &["Africa/Kinshasa", "Africa/Lubumbashi"]),
    ("CG", &["Africa/Brazzaville"]),
    ("CH", &["Europe/Zurich"]),
    ("CI", &["Africa/Abidjan"]),
    ("CL", &["America/Santiago"]),
    ("CM", &["Africa/Douala"]),
    ("CN", &["Asia/Shanghai"]),
    ("CO", &["America/Bogota"]),
    ("CY", &["Asia/Nicosia"]),
    ("CZ", &["Europe/Prague"]),
    ("DE", &["Europe/Berlin", "Europe/Busingen"]),
    ("DK", &["Europe/Copenhagen"]),
    ("DZ", &["Africa/Algiers"]),
    ("EE", &["Europe/Tallinn"]),
    ("EG", &["Africa/Cairo"]),
    ("ES", &["Africa/Ceuta", "Atlantic/Canary", "Europe/Madrid"]),
    ("FI", &["Europe/Helsinki"]),
    ("FR", &["Europe/Paris"]),
    ("GA", &["Africa/Libreville"]),
    ("GB", &["Europe/London"]),
    ("GF", &["America/Cayenne"]),
    ("GG", &["Europe/Guernsey"]),
    ("GI", &["Europe/Gibraltar"]),
    ("GN", &["Africa/Conakry"]),
    ("GP", &["America/Guadeloupe"]),
    ("GR", &["Europe/Athens"]),
    ("HK", &["Asia/Hong_Kong"]),
    ("HR", &["Europe/Zagreb"]),
    ("HT", &["America/Port-au-Prince"]),
    ("HU", &["Europe/Budapest"]),
    ("IE", &["Europe/Dublin"]),
    ("IL", &["Asia/Jerusalem"]),
    ("IM", &["Europe/Isle_of_Man"]),
    ("IN", &["Asia/Kolkata"]),
    ("IS", &["Atlantic/Reykjavik"]),
    ("IT", &["Europe/Rome"]),
    ("JE", &["Europe/Jersey"]),
    ("JP", &["Asia/Tokyo"]),
    ("KR", &["Asia/Seoul"]),
    ("LB", &["Asia/Beirut"]),
    ("LI", &["Europe/Vaduz"]),
    ("LT", &["Europe/Vilnius"]),
    ("LU", &["Europe/Luxembourg"]),
    ("LV", &["Europe/Riga"]),
    ("MA", &["Africa/Casablanca"]),
    ("MC", &["Europe/Monaco"]),
    ("MD", &["Europe/Chisinau"]),
    ("ME", &["Europe/Podgorica"]),
    ("MF", &["America/Marigot"]),
    ("MG", &["Indian/Antananarivo"]),
    ("MK", &["Europe/Skopje"]),
    ("ML", &["Africa/Bamako"]),
    ("MQ", &["America/Martinique"]),
    ("MT", &["Europe/Malta"]),
    ("MU", &["Indian/Mauritius"]),
    ("MX", &["America/Mexico_City", "America/Monterrey", "America/Tijuana"]),
    ("NC", &["Pacific/Noumea"]),
    ("NE", &["Africa/Niamey"]),
    ("NG", &["Africa/Lagos"]),
    ("NL", &["Europe/Amsterdam"]),
    ("NO", &["Europe/Oslo"]),
    ("NZ", &["Pacific/Auckland"]),
    ("PE", &["America/Lima"]),
    ("PF", &["Pacific/Gambier", "Pacific/Marquesas", "Pacific/Tahiti"]),
    ("PL", &["Europe/Warsaw"]),
    ("PM", &["America/Miquelon"]),
    ("PT", &["Atlantic/Azores", "Atlantic/Madeira", "Europe/Lisbon"]),
    ("RE", &["Indian/Reunion"]),
    ("RO", &["Europe/Bucharest"]),
    ("RS", &["Europe/Belgrade"]),
    ("SE", &["Europe/Stockholm"]),
    ("SG", &["Asia/Singapore"]),
    ("SI", &["Europe/Ljubljana"]),
    ("SK", &["Europe/Bratislava"]),
    ("SM", &["Europe/San_Marino"]),
    ("SN", &["Africa/Dakar"]),
    ("TG", &["Africa/Lome"]),
    ("TN", &["Africa/Tunis"]),
    ("TR", &["Europe/Istanbul"]),
    ("UA", &["Europe/Kyiv", "Europe/Kiev"]),
    (
        "US",
        &[
            "America/Anchorage",
            "America/Chicago",
            "America/Denver",
            "America/Detroit",
            "America/Los_Angeles",
            "America/New_York",
            "America/Phoenix",
            "Pacific/Honolulu",
        ],
    ),
    ("VA", &["Europe/Vatican"]),
    ("WF", &["Pacific/Wallis"]),
    ("YT", &["Indian/Mayotte"]),
    ("ZA", &["Africa/Johannesburg"]),
];

/// The country of a zone (ISO 3166-1, alpha-2). A zone that is not of one country, like `UTC`, has none.
pub(super) fn of(zone: Tz) -> Option<&'static str> {
    ZONES.iter().find(|(_, zones)| zones.contains(&zone.name())).map(|(country, _)| *country)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_is_one_and_has_one_country() {
        let mut names: Vec<&str> = ZONES.iter().flat_map(|(_, zones)| *zones).copied().collect();
        let number = names.len();
        assert!(names.iter().all(|name| name.parse::<Tz>().is_ok_and(|zone| zone.name() == *name)));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), number);
        assert_eq!((of(Tz::Europe__Paris), of(Tz::UTC)), (Some("FR"), None));
    }
}
