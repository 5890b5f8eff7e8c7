"""A small bilingual site on the loopback interface, to try a crawl with.

It is a nursery's: a page for each plant in English and French, linked by hreflang, with menus, lists and tables as
sites have them. Its text is made here from sentences and names.
"""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

_PLANTS = [
    ("apple tree", "pommier"), ("pear tree", "poirier"), ("rose bush", "rosier"), ("fig tree", "figuier"),
    ("plum tree", "prunier"), ("lemon tree", "citronnier"), ("olive tree", "olivier"), ("laurel", "laurier"),
    ("cherry tree", "cerisier"), ("peach tree", "pêcher"), ("hazel", "noisetier"), ("walnut tree", "noyer"),
    ("chestnut tree", "châtaignier"), ("lilac", "lilas"), ("jasmine", "jasmin"), ("thyme", "thym"),
    ("rosemary", "romarin"), ("lime tree", "tilleul"), ("poplar", "peuplier"), ("maple", "érable"),
]  # fmt: skip
_MONTHS = [
    ("March", "mars"), ("April", "avril"), ("May", "mai"), ("June", "juin"), ("September", "septembre"),
    ("October", "octobre"), ("November", "novembre"),
]  # fmt: skip
_SENTENCES = [
    ("The {p} is planted in {m}, when the ground is warm and moist.",
     "Le {p} se plante en {m}, quand le sol est chaud et humide."),
    ("Water it {n} times a week during its first summer.",
     "Arrosez-le {n} fois par semaine pendant son premier été."),
    ("A grown {p} reaches a height of {n} metres in good soil.",
     "Un {p} adulte atteint une hauteur de {n} mètres dans une bonne terre."),
    ("Cut back the dead branches before the end of {m}.",
     "Coupez les branches mortes avant la fin du mois de {m}."),
    ("Our nursery delivers each {p} with bare roots or in a pot of {n} litres.",
     "Notre pépinière livre chaque {p} à racines nues ou dans un pot de {n} litres."),
    ("The leaves turn yellow when the roots stand in water.",
     "Les feuilles jaunissent quand les racines restent dans l’eau."),
    ("It does not like the wind from the north and asks for a sheltered place.",
     "Il n’aime pas le vent du nord et demande un endroit abrité."),
    ("Dig a hole {n} times as wide as the roots and mix compost into the soil.",
     "Creusez un trou {n} fois plus large que les racines et mêlez du compost à la terre."),
    ("In {m} its flowers attract bees from the whole neighbourhood.",
     "En {m}, ses fleurs attirent les abeilles de tout le voisinage."),
    ("Do you want to know more about the {p}? Ask our gardeners for advice.",
     "Vous voulez en savoir plus sur le {p} ? Demandez conseil à nos jardiniers."),
    ("The price of this variety has not changed for {n} years.",
     "Le prix de cette variété n’a pas changé depuis {n} ans."),
    ("Protect the young {p} from frost with a layer of straw.",
     "Protégez le jeune {p} du gel avec une couche de paille."),
]  # fmt: skip
_WORDS = {
    "en": ("Home", "Plants", "Contact", "Planting and care", "Height", "metres", "Order number",
           "All rights reserved by the nursery."),
    "fr": ("Accueil", "Plantes", "Contact", "Plantation et entretien", "Hauteur", "mètres", "Numéro de commande",
           "Tous droits réservés à la pépinière."),
}  # fmt: skip
_SENTENCES_PER_PAGE = 6


class Site:
    """The pages of the site: `/en/plant-0.html`, `/fr/plant-0.html`, ...; the same number, the same text.

    Args:
        pages: how many in each language.
    """

    def __init__(self, pages: int = 100) -> None:
        self.pages = pages

    def page(self, path: str) -> str | None:
        """The HTML at a path; None where there is nothing."""
        if path == "/":
            return self._index("en")
        match = re.fullmatch(r"/(en|fr)/(?:index|plant-(\d{1,9}))\.html", path)
        if match is None:
            return None
        language, number = match.groups()
        if number is None:
            return self._index(language)
        return self._plant(language, int(number)) if int(number) < self.pages else None

    def _plant(self, language: str, number: int) -> str:
        side = 0 if language == "en" else 1
        words = _WORDS[language]
        name = f"{_PLANTS[number % len(_PLANTS)][side]} {number}"
        sentences = []
        for k in range(_SENTENCES_PER_PAGE):
            sentence = _SENTENCES[(number * 5 + k) % len(_SENTENCES)][side]
            month = _MONTHS[(number + k) % len(_MONTHS)][side]
            sentences.append(sentence.format(p=name, m=month, n=2 + (number * 7 + k) % 97))
        body = (
            f"<h1>{escape(name.capitalize())}</h1><p>{escape(' '.join(sentences[:3]))}</p><h2>{words[3]}</h2>"
            f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences[3:])}</ul>"
            f"<table><tr><th>{words[4]}</th><td>{2 + number % 30} {words[5]}</td></tr>"
            f"<tr><th>{words[6]}</th><td>{10_000 + number}</td></tr></table>"
        )
        return self._frame(language, f"plant-{number}.html", body)

    def _index(self, language: str) -> str:
        side = 0 if language == "en" else 1
        items = "".join(
            f'<li><a href="/{language}/plant-{number}.html">{escape(_PLANTS[number % len(_PLANTS)][side])} {number}</a></li>'
            for number in range(self.pages)
        )
        return self._frame(language, "index.html", f"<h1>{_WORDS[language][1]}</h1><ul>{items}</ul>")

    def _frame(self, language: str, name: str, body: str) -> str:
        home, plants, contact, *_, rights = _WORDS[language]
        other = "fr" if language == "en" else "en"
        return (
            f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"><title>{plants}</title>'
            f'<link rel="alternate" hreflang="{other}" href="/{other}/{name}"></head><body>'
            f'<nav><ul><li><a href="/{language}/index.html">{home}</a></li><li>{contact}</li>'
            f'<li><a href="/{other}/{name}">{other}</a></li></ul></nav>{body}<footer><p>{rights}</p></footer></body></html>'
        )


@contextmanager
def serve(site: Site, port: int = 0) -> Iterator[str]:
    """Serve a site on the loopback interface; gives its URL. Port 0 takes a free one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = site.page(self.path)
            body = (page or "<title>not found</title>").encode()
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The fetcher tells what it fetches."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
