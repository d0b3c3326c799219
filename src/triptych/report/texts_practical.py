"""Questions of the practical and what frames their answers, English and French side by side."""

PRACTICAL: dict[str, tuple[str, str]] = {
    "practical.title": (
        "The practical, question by question",
        "Les questions des travaux pratiques",
    ),
    "practical.intro": (
        "Each answer is assembled from the measurements of this comparison. The one exception "
        "is marked.",
        "Chaque réponse est assemblée à partir des mesures de cette comparaison. La seule "
        "exception est signalée.",
    ),
    "practical.see": ("See the figure", "Voir la figure"),
    "practical.explanation": ("Explanation, not a measurement", "Explication, et non mesure"),
    "practical.absent": (
        "This comparison holds no model of this family.",
        "Cette comparaison ne contient aucun modèle de cette famille.",
    ),
    "practical.nothing": (
        "Nothing was measured that answers this; the figure is left to your eye.",
        "Rien de mesuré ne répond à cette question ; la figure est laissée à votre œil.",
    ),
    "question.1.3a": (
        "What do the VAE's reconstructions and samples look like?",
        "À quoi ressemblent les reconstructions et les échantillons du VAE ?",
    ),
    "question.1.3b": ("Are the VAE's samples blurry?", "Les échantillons du VAE sont-ils flous ?"),
    "question.1.3c": (
        "Is the VAE's path between two latent points smooth?",
        "Le chemin du VAE entre deux points latents est-il régulier ?",
    ),
    "question.2.2a": (
        "What do the GAN's samples look like?",
        "À quoi ressemblent les échantillons du GAN ?",
    ),
    "question.2.2b": (
        "Are the GAN's samples sharper than the VAE's, and can they be recognised?",
        "Les échantillons du GAN sont-ils plus nets que ceux du VAE, et sont-ils reconnaissables ?",
    ),
    "question.2.2c": (
        "Is the GAN's path between two noise points smooth?",
        "Le chemin du GAN entre deux points de bruit est-il régulier ?",
    ),
    "question.2.3": (
        "Why detach the fake images in the discriminator's step?",
        "Pourquoi détacher les fausses images dans le pas du discriminateur ?",
    ),
    "question.2.4": (
        "Can the GAN reconstruct, represent or give a likelihood?",
        "Le GAN peut-il reconstruire, représenter ou donner une vraisemblance ?",
    ),
    "question.3.2a": (
        "What do the diffusion model's samples look like?",
        "À quoi ressemblent les échantillons du modèle de diffusion ?",
    ),
    "question.3.2b": (
        "Are they clear, without blur or odd shapes?",
        "Sont-ils clairs, sans flou ni formes étranges ?",
    ),
    "question.4": (
        "What are the advantages and disadvantages of the three families?",
        "Quels sont les avantages et les inconvénients des trois familles ?",
    ),
    "answer.detach": (
        "The discriminator's loss must improve the discriminator alone. Its fake images come "
        "out of the generator, so without .detach() the backward pass would run on into the "
        "generator's weights. That is wasted work; and if those gradients were still there at "
        "the generator's own step, they would push it to make images that are easier to "
        "reject, the opposite of its goal. Detaching cuts the graph at the images: they stay "
        "the same, and no gradient passes. In the generator's step nothing is detached, since "
        "there the gradient has to cross the discriminator, whose weights are then held still.",
        "La perte du discriminateur ne doit améliorer que lui. Ses fausses images sortent du "
        "générateur : sans .detach(), la rétropropagation continuerait jusque dans les poids "
        "du générateur. C'est du calcul perdu ; et si ces gradients étaient encore là au "
        "moment du pas du générateur, ils le pousseraient à faire des images plus faciles à "
        "rejeter, le contraire de son but. Détacher coupe le graphe au niveau des images : "
        "elles restent les mêmes, mais aucun gradient ne passe. Dans le pas du générateur, "
        "rien n'est détaché, car le gradient doit alors traverser le discriminateur, dont les "
        "poids restent fixes.",
    ),
    "answer.distance": (
        "{who}: {value} {interval} for {measure}, {ratio} times the floor.",
        "{who} : {value} {interval} pour {measure}, soit {ratio} fois le plancher.",
    ),
    "answer.recognisable": (
        "A classifier recognises {value} {interval} of the images made by {who}; of real "
        "images, {floor}.",
        "Un classifieur reconnaît {value} {interval} des images que produit {who} ; et {floor} "
        "des vraies images.",
    ),
    "answer.sharper": (
        "Yes: samples made by {sharp} are {ratio} times as sharp as those made by {soft}.",
        "Oui : les échantillons que produit {sharp} sont {ratio} fois plus nets que ceux que "
        "produit {soft}.",
    ),
    "answer.not_sharper": (
        "No: samples made by {sharp} are {ratio} times as sharp as those made by {soft}.",
        "Non : les échantillons que produit {sharp} sont {ratio} fois plus nets que ceux que "
        "produit {soft}.",
    ),
    "answer.sharper.undecided": (
        "Not decided: the sharpness intervals of {who} overlap.",
        "Non tranché : les intervalles de netteté se chevauchent pour {who}.",
    ),
    "answer.path": (
        "{who}: along the {rows} paths pictured, the largest step between neighbours exceeds the "
        "mean step by {uneven} in pixels (0 % is perfectly even).",
        "{who} : le long des {rows} chemins montrés, le plus grand pas entre voisines dépasse le "
        "pas moyen de {uneven} en pixels (0 % est parfaitement régulier).",
    ),
    "answer.brightness": (
        "From left to right, mean brightness goes from {left} to {right} (0 is black, 255 white).",
        "De gauche à droite, la luminosité moyenne va de {left} à {right} (0 est noir, 255 blanc).",
    ),
    "answer.path_length": (
        "{who}: path length {value} {interval} (1 is straight).",
        "{who} : longueur des chemins {value} {interval} (1 est droit).",
    ),
    "answer.represent": (
        "{who} represents images with a probe accuracy of {value} {interval}.",
        "{who} représente les images avec une exactitude de sonde de {value} {interval}.",
    ),
    "answer.represent.none": (
        "How well {who} represents images was not measured in this comparison.",
        "La qualité des représentations n'a pas été mesurée pour {who} dans cette comparaison.",
    ),
    "answer.represent.undefined": (
        "No representation by {who} ({note}).",
        "Pas de représentation par {who} ({note}).",
    ),
    "name": ("{who}", "{who}"),
    "balance.family": ("Model", "Modèle"),
    "balance.for": ("Best here, beyond the intervals", "Le meilleur ici, au-delà des intervalles"),
    "balance.against": (
        "Worst here, beyond the intervals",
        "Le moins bon ici, au-delà des intervalles",
    ),
    "balance.undefined": ("Not defined", "Non défini"),
    "balance.none": ("nothing", "rien"),
    "balance.note": (
        "For times, best and worst mean at least 1.2 times from the next model.",
        "Pour les temps, meilleur et moins bon s'entendent à au moins 1,2 fois du modèle suivant.",
    ),
}
