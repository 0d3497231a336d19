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
owner-still-open = Closed on { $date }, but its file still says that it is open: write “{ $line }”, or move the date.
owner-stale = Closed by itself { $days } days after it opened, but its file still says that it is open: write “{ $line }”, or add a closing date.
owner-endless = Open for { $days } days without a closing date: add one, or close the posting.
digest-more = { $count ->
    [one] And one more posting:
   *[other] And { $count } more postings:
}
digest-why = You receive this message because your address is on the mailing list “{ $site }”.
digest-why-owner = You receive this message because your address is that of the contact of a posting on “{ $site }”.
unsubscribe = Unsubscribe
preferences = Choose what you receive

## Subscriptions

subscribe-title = Get a message before postings close
subscribe-lead = A message tells you before the postings that interest you close. You get off the list with one click.
subscribe-privacy = Your address is used for these messages only, without any tracking.
field-email = Your email address
field-none-is-all = Choose none to be told of all.
field-cadence = How often
cadence-daily = At most one message a day
cadence-weekly = One message a week
field-weekday = on
field-new = New postings, too
field-junior = Only postings that welcome juniors
field-language = Language of the messages
language-name = English
subscribe-button = Subscribe
email-invalid = That is not an email address: write it like name@example.org.
check-mail = Look at your messages
check-mail-why = If the address is right, a message is on its way to it. Open the link in it to confirm: without that nothing else is sent.
confirm-title = Confirm your subscription
confirm-why = One more click, and you will be told before postings close.
confirm-button = Confirm your subscription
confirmed = You are subscribed
confirmed-why = The first message leaves when a posting that interests you is about to close.
preferences-title = What you receive
preferences-button = Save
saved = Saved
saved-why = The next messages will follow your choices.
not-subscribed = This address is not subscribed
not-subscribed-why = It receives no messages. You can subscribe again.
unsubscribe-title = Unsubscribe?
unsubscribe-why = This address will receive no more messages of “{ $site }”.
unsubscribe-button = Yes, unsubscribe me
unsubscribed = You are unsubscribed
unsubscribed-why = No more messages will leave for this address.
subscribe-again = Subscribe again
link-invalid = This link does not work
link-invalid-why = It is incomplete, too old, or was used before. Copy all of it from the message, or begin again.
too-many = Too many requests
too-many-why = Wait a few minutes and try again.
not-here = This request cannot be handled
not-here-why = It does not come from this site, or is not complete. Load the page again and retry.
out-of-order = The service is out of order
out-of-order-why = Nothing was changed: try again in a few minutes.
subject-confirm = Confirm your subscription to “{ $site }”
confirm-mail = Somebody, probably you, asked that this address be told before postings of “{ $site }” close.
confirm-mail-ignore = If it was not you, do nothing: without a confirmation within { $hours } hours nothing else is sent.
