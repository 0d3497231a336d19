# Everything that crieur says to readers, in English. Syntax: https://projectfluent.org

## Dates

weekday = { $weekday ->
    [1] Monday
    [2] Tuesday
    [3] Wednesday
    [4] Thursday
    [5] Friday
    [6] Saturday
   *[7] Sunday
}
month = { $month ->
    [1] January
    [2] February
    [3] March
    [4] April
    [5] May
    [6] June
    [7] July
    [8] August
    [9] September
    [10] October
    [11] November
   *[12] December
}
day-of-month = { $day }
date = { weekday } { day-of-month } { month } { $year }
date-time = { date } at { $hour }:{ $minute }

## Postings

closes-on = Closes on { $date }
state-filled = This position is filled
state-withdrawn = This posting was withdrawn
state-closed = This posting is closed
closes-in = { $days ->
    [0] closes today
    [1] closes tomorrow
   *[other] closes in { $days } days
}
announced-for = A posting of our partner: { $organisation }
label-role = Role
label-organisation = Organisation
label-team = Team
label-contract = Contract
label-domains = Domains
label-technologies = Technologies
label-location = Location
label-remote = Remote work
label-salary = Pay
label-junior = Juniors
junior-yes = welcome
remote-yes = possible
remote-no = no
label-contact = Contact
apply = Apply
label-with-value = { $label }: { $value }

## Feeds and pages

feed-title = { $site } – { $value }
open-postings = { $count ->
    [0] No open postings
    [one] { $count } open posting
   *[other] { $count } open postings
}
none-open = Nothing is open at the moment. Subscribe to a feed to hear of the next posting.
subscribe = Subscribe
see-open-postings = See the open postings

skip-to-content = Skip to content
by-domain = By domain
by-team = By team
by-contract = By contract
by-organisation = By organisation
subscribe-mail = Get a message before postings close
subscribe-calendar = Calendar of closing dates
subscribe-feed = Feed:
subscribe-opml = All feeds, to import into a reader (OPML)
how-to-apply = How to apply
related-postings = Other postings of the team
not-found = Page not found
not-found-why = This address leads nowhere, or no longer does. The open postings are on the front page.
moved-here = This posting is here now.

## Calendar

calendar-name = Closing dates – { $site }
calendar-event = Closes: { $title }
add-to-calendar = Add to calendar

## Digests

subject-closing = { $count ->
    [one] { $soonest ->
        [0] One posting closes today: { $title }
        [1] One posting closes tomorrow: { $title }
       *[other] One posting closes soon: { $title }
    }
   *[other] { $soonest ->
        [0] { $count } postings close soon, { $first ->
            [one] one
           *[other] { $first }
        } of them today
        [1] { $count } postings close soon, { $first ->
            [one] one
           *[other] { $first }
        } of them tomorrow
       *[other] { $count } postings close soon
    }
}
subject-changed = { $count ->
    [one] { $what ->
        [filled] A position is filled: { $title }
        [withdrawn] A posting was withdrawn: { $title }
        [closed] A posting has closed already: { $title }
       *[other] A closing date has changed: { $title }
    }
   *[other] { $count } postings have changed
}
subject-owner = { $count ->
    [one] { $what ->
        [still-open] Your posting has closed, but its file says it is open: { $title }
        [endless] Your posting has no closing date: { $title }
       *[other] Your posting { closes-in }: { $title }
    }
   *[other] { $count } of your postings need your attention
}
subject-new = { $count ->
    [one] A new posting: { $title }
   *[other] { $count } new postings
}
digest-closing = These postings close soon
digest-changed = What has changed since we wrote to you
digest-owner = Your postings
digest-new = New postings
no-closing-date = No closing date
change-moved = Now closes on { $date }
change-endless = No longer has a closing date
change-closed = Closed earlier than announced, on { $date }
owner-still-open = Closed on { $date }, but its file still says that it is open: write “open: false”, or move the date.
owner-endless = Open for { $days } days without a closing date: add one, or close the posting.
digest-more = { $count ->
    [one] And one more posting:
   *[other] And { $count } more postings:
}
digest-why = You receive this message because your address is on the mailing list “{ $site }”.
digest-why-owner = You receive this message because your address is that of the contact of a posting on “{ $site }”.
unsubscribe = Unsubscribe
preferences = Choose what you receive
