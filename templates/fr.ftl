# Everything that crieur says to readers, in French. Syntax: https://projectfluent.org
# Before : ; ? ! and inside « » stand no-break spaces (U+00A0).

## Dates

weekday = { $weekday ->
    [1] lundi
    [2] mardi
    [3] mercredi
    [4] jeudi
    [5] vendredi
    [6] samedi
   *[7] dimanche
}
month = { $month ->
    [1] janvier
    [2] février
    [3] mars
    [4] avril
    [5] mai
    [6] juin
    [7] juillet
    [8] août
    [9] septembre
    [10] octobre
    [11] novembre
   *[12] décembre
}
day-of-month = { $day ->
    [1] 1er
   *[other] { $day }
}
date = { weekday } { day-of-month } { month } { $year }
date-time = { date } à { $hour } h { $minute }

## Postings

closes-on = Ferme le { $date }
state-filled = Ce poste est pourvu
state-withdrawn = Cette offre a été retirée
state-closed = Cette offre est fermée
closes-in = { $days ->
    [0] ferme aujourd’hui
    [1] ferme demain
   *[other] ferme dans { $days } jours
}
announced-for = Une offre de notre partenaire : { $organisation }
label-role = Métier
label-organisation = Organisation
label-team = Équipe
label-contract = Contrat
label-domains = Domaines
label-technologies = Technologies
label-location = Lieu
label-remote = Télétravail
label-salary = Rémunération
label-junior = Débutant·es
junior-yes = bienvenu·es
remote-yes = possible
remote-no = non
label-contact = Contact
apply = Postuler
label-with-value = { $label } : { $value }

## Feeds and pages

feed-title = { $site } – { $value }
open-postings = { $count ->
    [0] Aucune offre ouverte
    [one] { $count } offre ouverte
   *[other] { $count } offres ouvertes
}
none-open = Aucune offre n’est ouverte en ce moment. Abonnez-vous à un flux pour connaître la prochaine.
subscribe = S’abonner
see-open-postings = Voir les offres ouvertes

skip-to-content = Aller au contenu
by-domain = Par domaine
by-team = Par équipe
by-contract = Par contrat
by-organisation = Par organisation
subscribe-mail = Recevoir un message avant les clôtures
subscribe-calendar = Agenda des dates de clôture
subscribe-feed = Flux :
subscribe-opml = Tous les flux, à importer dans un lecteur (OPML)
how-to-apply = Comment postuler
related-postings = Autres offres de l’équipe
not-found = Page introuvable
not-found-why = Cette adresse ne mène à rien, ou plus à rien. Les offres ouvertes sont sur la page d’accueil.
moved-here = Cette offre est maintenant ici.

## Calendar

calendar-name = Dates de clôture – { $site }
calendar-event = Clôture : { $title }
add-to-calendar = Ajouter à l’agenda

## Digests

subject-closing = { $count ->
    [one] { $soonest ->
        [0] Une offre ferme aujourd’hui : { $title }
        [1] Une offre ferme demain : { $title }
       *[other] Une offre ferme bientôt : { $title }
    }
   *[other] { $soonest ->
        [0] { $count } offres ferment bientôt, dont { $first ->
            [one] une
           *[other] { $first }
        } aujourd’hui
        [1] { $count } offres ferment bientôt, dont { $first ->
            [one] une
           *[other] { $first }
        } demain
       *[other] { $count } offres ferment bientôt
    }
}
subject-changed = { $count ->
    [one] { $what ->
        [filled] Un poste est pourvu : { $title }
        [withdrawn] Une offre est retirée : { $title }
        [closed] Une offre est déjà fermée : { $title }
       *[other] Une date de clôture a changé : { $title }
    }
   *[other] { $count } offres ont changé
}
subject-owner = { $count ->
    [one] { $what ->
        [still-open] Votre offre est fermée, mais son fichier la dit ouverte : { $title }
        [endless] Votre offre n’a pas de date de clôture : { $title }
       *[other] Votre offre { closes-in } : { $title }
    }
   *[other] { $count } de vos offres demandent votre attention
}
subject-new = { $count ->
    [one] Une nouvelle offre : { $title }
   *[other] { $count } nouvelles offres
}
digest-closing = Ces offres ferment bientôt
digest-changed = Ce qui a changé depuis notre dernier message
digest-owner = Vos offres
digest-new = Nouvelles offres
no-closing-date = Sans date de clôture
change-moved = Ferme désormais le { $date }
change-endless = N’a plus de date de clôture
change-closed = S’est fermée plus tôt qu’annoncé, le { $date }
owner-still-open = Fermée le { $date }, mais son fichier la dit toujours ouverte : écrivez « { $line } » ou repoussez la date.
owner-stale = Fermée d’elle-même { $days } jours après son ouverture, mais son fichier la dit toujours ouverte : écrivez « { $line } » ou ajoutez une date de clôture.
owner-endless = Ouverte depuis { $days } jours sans date de clôture : ajoutez-en une, ou fermez l’offre.
digest-more = { $count ->
    [one] Et une autre offre :
   *[other] Et { $count } autres offres :
}
digest-why = Vous recevez ce message parce que votre adresse figure sur la liste de diffusion « { $site } ».
digest-why-owner = Vous recevez ce message parce que votre adresse est celle du contact d’une offre publiée sur « { $site } ».
unsubscribe = Se désabonner
preferences = Choisir ce que vous recevez

## Subscriptions

subscribe-title = Recevoir un message avant les clôtures
subscribe-lead = Un message vous prévient avant que les offres qui vous intéressent ne ferment, et vous vous désabonnez d’un clic.
subscribe-privacy = Votre adresse ne sert qu’à ces messages, sans aucun suivi.
field-email = Votre adresse électronique
field-none-is-all = Sans choix, toutes les offres.
field-cadence = À quel rythme
cadence-daily = Au plus un message par jour
cadence-weekly = Un message par semaine
field-weekday = le
field-new = Aussi les nouvelles offres
field-junior = Seulement les offres ouvertes aux débutant·es
field-language = Langue des messages
language-name = français
subscribe-button = S’abonner
email-invalid = Cette adresse n’est pas valide : écrivez-la comme nom@exemple.fr.
check-mail = Regardez vos messages
check-mail-why = Si l’adresse est bonne, un message vient de lui être envoyé. Ouvrez le lien qu’il contient pour confirmer : sans cela, rien d’autre ne sera envoyé.
confirm-title = Confirmer l’abonnement
confirm-why = Encore un clic, et vous serez prévenu·e avant les clôtures.
confirm-button = Confirmer l’abonnement
confirmed = Vous êtes abonné·e
confirmed-why = Le premier message partira quand une offre qui vous intéresse sera près de fermer.
preferences-title = Ce que vous recevez
preferences-button = Enregistrer
saved = C’est enregistré
saved-why = Les prochains messages en tiendront compte.
not-subscribed = Cette adresse n’est pas abonnée
not-subscribed-why = Elle ne reçoit aucun message. Vous pouvez vous abonner à nouveau.
unsubscribe-title = Se désabonner ?
unsubscribe-why = Cette adresse ne recevra plus aucun message de « { $site } ».
unsubscribe-button = Oui, me désabonner
unsubscribed = Vous êtes désabonné·e
unsubscribed-why = Plus aucun message ne partira vers cette adresse.
subscribe-again = S’abonner à nouveau
link-invalid = Ce lien ne fonctionne pas
link-invalid-why = Il est incomplet, trop ancien, ou a déjà servi. Recopiez-le en entier depuis le message, ou recommencez.
too-many = Trop de demandes
too-many-why = Attendez quelques minutes, puis réessayez.
not-here = Cette demande ne peut pas être traitée
not-here-why = Elle ne vient pas de ce site, ou n’est pas complète. Rechargez la page et réessayez.
out-of-order = Le service est indisponible
out-of-order-why = Rien n’a été changé : réessayez dans quelques minutes.
subject-confirm = Confirmez votre abonnement à « { $site } »
confirm-mail = Quelqu’un, sans doute vous, a demandé que cette adresse soit prévenue avant la clôture des offres de « { $site } ».
confirm-mail-ignore = Si ce n’était pas vous, ignorez ce message : sans confirmation dans les { $hours } heures, rien d’autre ne sera envoyé.
