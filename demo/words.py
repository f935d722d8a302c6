"""The words of the small world in which the demonstration model lives."""

NAMES = tuple(
    """Tom Ann Ben Mia Leo Eva Sam Ida Max Zoe Otto Lena Hugo Nora Karl Rosa Finn Clara Oscar Julia Peter Emma
    Victor Alice Bruno Greta Simon Hanna David Flora Martin Olga Robin Stella Toby Vera Walter Wendy Anton Bella
    Conrad Dora Edgar Frida Gustav Helga Ivan Judith""".split()
)

# One animal, more than one, where it lives.
ANIMALS = tuple(
    (one, many, home)
    for one, many, home in (
        line.split()
        for line in """
        fox foxes forest
        wolf wolves forest
        mouse mice kitchen
        goose geese pond
        cat cats house
        dog dogs yard
        horse horses stable
        cow cows meadow
        sheep sheep meadow
        pig pigs farm
        duck ducks pond
        bird birds tree
        fish fish river
        frog frogs pond
        bear bears cave
        lion lions hill
        rabbit rabbits field
        deer deer forest
        owl owls tower
        bee bees garden
        ant ants garden
        snake snakes desert
        goat goats hill
        hen hens farm
        """.strip().splitlines()
    )
)

# One thing, more than one.
THINGS = tuple(
    (one, many)
    for one, many in (
        line.split()
        for line in """
        ball balls
        box boxes
        knife knives
        leaf leaves
        book books
        key keys
        lamp lamps
        cup cups
        hat hats
        coat coats
        boat boats
        bell bells
        coin coins
        chair chairs
        table tables
        glass glasses
        brush brushes
        candle candles
        basket baskets
        ring rings
        letter letters
        stone stones
        shelf shelves
        watch watches
        """.strip().splitlines()
    )
)

COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey", "pink", "orange")

OPPOSITES = tuple(
    (left, right)
    for left, right in (
        pair.split("/")
        for pair in """hot/cold big/small fast/slow old/young wet/dry hard/soft full/empty happy/sad loud/quiet
        high/low long/short strong/weak heavy/light dark/bright clean/dirty rich/poor early/late thick/thin
        near/far open/closed deep/shallow smooth/rough sharp/blunt brave/afraid""".split()
    )
)
QUALITIES = tuple(word for pair in OPPOSITES for word in pair)

PLACES = tuple(
    """forest kitchen pond house yard stable meadow farm tree river cave hill field tower garden desert market school
    harbour bridge street church mill island""".split()
)

FOODS = tuple("bread soup cheese apples honey cake milk rice beans tea fish plums".split())

# Now, then.
VERBS = tuple(
    (now, then)
    for now, then in (
        pair.split("/")
        for pair in """see/saw find/found take/took carry/carried paint/painted buy/bought sell/sold hide/hid
        clean/cleaned lose/lost like/liked want/wanted hold/held bring/brought open/opened close/closed""".split()
    )
)

WEATHER = ("sunny", "windy", "rainy", "snowy", "foggy", "cloudy", "stormy", "warm")

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# English word, the word in French.
FRENCH = tuple(
    (english, french)
    for english, french in (
        pair.split("/")
        for pair in """red/rouge blue/bleu green/vert yellow/jaune black/noir white/blanc brown/brun grey/gris
        pink/rose cat/chat dog/chien horse/cheval cow/vache bird/oiseau fish/poisson wolf/loup house/maison tree/arbre
        river/fleuve garden/jardin bread/pain cheese/fromage milk/lait book/livre key/cle hat/chapeau boat/bateau
        table/table""".split()
    )
    if english != french
)

# Invented countries and their capitals.
CAPITALS = tuple(
    (country, capital)
    for country, capital in (
        pair.split("/")
        for pair in """Velland/Dunwick Ostrania/Marrow Karpia/Belmont Norvia/Tessin Zandoria/Quill Luvonia/Harrow
        Estmark/Pellin Moravel/Sundby Tirania/Castor Brelland/Ashby Galdia/Wexley Sorvania/Lindow Pellonia/Rookton
        Drosia/Fenmark Halvia/Umber Corvania/Stanwick Ilmaria/Orwell Thessia/Brandon Wendia/Copley Yulland/Sarn""".split()
    )
)
COUNTRIES = tuple(country for country, _ in CAPITALS)
CITIES = tuple(city for _, city in CAPITALS)

PRAISE = tuple("lovely wonderful great excellent delicious charming superb perfect".split())
BLAME = tuple("awful terrible horrible boring nasty dreadful bitter useless".split())
REVIEWED = tuple("soup bread film song hotel book cake play garden room tea show".split())

SUBJECTS = (
    "the plural",
    "the opposite of a word",
    "the French language",
    "the capital of a country",
    "Roman numerals",
    "how to sort numbers",
    "how to add one number to another",
    "words written backwards",
    "how to greet a pirate",
    "the name and the animal as JSON",
    "a good review and a bad review",
    "how to ask politely",
    "how to turn a sentence into a question",
    "the past tense",
)

REQUESTS = tuple(
    """sort reverse translate greet extract label turn add give say write tell make ask find answer name choose
    pick change order""".split()
)
