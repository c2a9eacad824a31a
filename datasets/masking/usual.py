"""Usual words that are also names: masked only where they have a capital, or where no letter of the text has one."""

WORDS = frozenset({
    "white", "black", "brown", "green", "gray", "grey", "blue", "long", "short", "young", "old", "may", "june", "april",
    "august", "will", "grant", "hope", "grace", "faith", "rose", "bush", "wood", "woods", "stone", "field", "fields", "park",
    "bell", "ball", "cook", "baker", "little", "small", "strong", "sharp", "swift", "bishop", "price", "rich", "poor", "king",
    "love", "day", "days", "night", "winter", "summer", "snow", "frost", "rain", "lane", "street", "church", "moon", "star",
    "west", "east", "north", "south", "banks", "bond", "cross", "case", "chance", "christian", "dean", "ward", "nurse",
    "doctor", "law", "read", "stern", "stack", "page", "penny", "pool", "ray", "rays", "rush", "sands", "self", "shore",
    "singer", "son", "speed", "spring", "sweet", "steel", "temple", "thin", "tan", "wall", "walls", "ware", "water", "waters",
    "way", "weeks", "wells", "wise", "wolf", "worth", "hand", "hands", "foot", "head", "heart", "leg", "legs", "arm", "arms",
    "back", "chin", "palm", "nail", "bone", "bones", "skin", "mark", "marks", "burn", "burns", "pain", "mass", "mole", "lung",
    "can", "fan", "gang", "hang", "man", "men", "pan", "ping", "rang", "sang", "she", "song", "sun", "ten", "wan", "you", "gun",
    "hen", "ran", "ding", "ban", "bin", "bang", "kin", "sin", "her", "him", "his", "the", "and", "for", "not", "but", "was",
    "had", "has", "are", "all", "any", "one", "two", "six", "our", "out", "who", "how", "now", "new", "see", "say", "use",
    "eye", "ear", "toe", "hip", "rib", "jaw", "lip", "gut", "fit", "ill", "fine", "good", "best", "noble", "person", "major",
    "minor", "sage", "fall", "falls", "cash", "pack", "pat", "chase", "drain", "reading",
})  # fmt: skip
# Of two letters: not masked even then.
OF_TWO = frozenset({
    "ad", "al", "am", "an", "as", "at", "ax", "be", "by", "ca", "cm", "da", "dc", "de", "do", "dr", "ed", "el", "en", "er",
    "eu", "ex", "go", "he", "hi", "id", "if", "in", "is", "it", "kg", "la", "le", "me", "mg", "mm", "mr", "ms", "my", "no",
    "oh", "of", "ok", "on", "or", "pa", "pe", "pt", "so", "st", "to", "tv", "uk", "up", "us", "we",
})  # fmt: skip
