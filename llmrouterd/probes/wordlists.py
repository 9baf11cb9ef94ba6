"""Names and things that the generated questions are about."""

from __future__ import annotations

PEOPLE = tuple(
    (
        "Ada Amir Bela Bruno Carla Chen Dario Dunja Elif Emil Farah Fiona Goran Greta Hana Hugo "
        "Ines Ivan Jonas Kira Lars Leila Malik Mina Nadia Nils Olga Oskar Paulo Petra Quentin "
        "Rania Rosa Samir Selma Tariq Tilda Uma Viktor Wanda Xenia Yusuf Zora"
    ).split()
)
THINGS = tuple(
    (
        "apples pencils marbles stickers stamps shells coins buttons postcards beads cookies "
        "tickets candles bottles ribbons bricks seeds badges plates envelopes"
    ).split()
)
CONTAINERS = tuple("boxes bags baskets crates jars trays drawers tins".split())
PLACES = tuple(
    (
        "Arendal Bergamo Coimbra Dresden Esbjerg Ferrara Girona Haarlem Innsbruck Jena Kotor "
        "Linz Maribor Namur Odense Poznan Rimini Siena Trento Uppsala Vigo Zadar"
    ).split()
)
SURNAMES = tuple(
    (
        "Abel Brandt Castro Dorn Engel Fuchs Gallo Hansen Ito Jansen Keller Lopez Meyer Novak "
        "Okoye Petrov Quist Rossi Silva Tanaka Urban Vogel Weber Yilmaz Zeman"
    ).split()
)
GOODS = (
    "lamp chair kettle desk rug mirror clock vase drill ladder blanket stool mug radio tent"
).split()
COLOURS = "red blue green yellow black white grey orange purple brown".split()
