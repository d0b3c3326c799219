"""Sentences of the verdict, English and French side by side; `reading` decides which appear.

In French every model's name is masculine and starts with its article, so no sentence may put "de"
or "à" before it.
"""

READING: dict[str, tuple[str, str]] = {
    "images.test": ("test images", "images de test"),
    "images.train": ("training images", "images d'apprentissage"),
    "images.validation": ("validation images", "images de validation"),
    "images.none": ("real images", "vraies images"),
    "measure.frechet_distance": (
        "Fréchet distance to {reference} on {features}",
        "la distance de Fréchet aux {reference} sur {features}",
    ),
    "measure.fid": ("FID to {reference}", "la FID par rapport aux {reference}"),
    "measure.kernel_distance": (
        "kernel distance to {reference} on {features}",
        "la distance à noyau avec les {reference} sur {features}",
    ),
    "distance.best": (
        "{who} has the lowest {measure}: {value} {interval}. The intervals of the others lie "
        "wholly above it.",
        "{measure} est la plus basse pour {who} : {value} {interval}. Les intervalles des "
        "autres sont entièrement au-dessus.",
    ),
    "distance.undecided": (
        "Not decided at this sample count: the {measure} does not tell {who} apart, since "
        "their intervals overlap at {n} samples.",
        "Non tranché avec ce nombre d'échantillons : {measure} ne départage pas {who}, dont "
        "les intervalles se chevauchent pour {n} échantillons.",
    ),
    "distance.floor": (
        "Real images score {floor} against other real images, which is the floor of this "
        "distance: {clauses}.",
        "De vraies images sont à {floor} d'autres vraies images, c'est le plancher de cette "
        "distance : {clauses}.",
    ),
    "distance.times": (
        "{who} is at {ratio} times the floor",
        "{who} est à {ratio} fois le plancher",
    ),
    "distance.level": (
        "{who} cannot be told from real images by it",
        "{who} ne se distingue pas des vraies images par cette mesure",
    ),
    "distance.same": (
        "Measured against training images instead of test images, the nearest model is the same.",
        "Mesuré par rapport aux images d'apprentissage plutôt qu'aux images de test, le modèle "
        "le plus proche est le même.",
    ),
    "distance.other": (
        "Beware of the reference: against test images the nearest model is {test}, against "
        "training images it is {train}.",
        "Attention à la référence : par rapport aux images de test, le modèle le plus proche "
        "est {test} ; par rapport aux images d'apprentissage, c'est {train}.",
    ),
    "recognisable.shares": (
        "A classifier recognises {floor} of real images, and {clauses}.",
        "Un classifieur reconnaît {floor} des vraies images ; et, parmi les images produites, "
        "{clauses}.",
    ),
    "recognisable.only": (
        "Among the images made, a classifier recognises {clauses}.",
        "Parmi les images produites, un classifieur reconnaît {clauses}.",
    ),
    "recognisable.clause": (
        "{value} {interval} of those made by {who}",
        "{value} {interval} de celles que produit {who}",
    ),
    "recognisable.best": (
        "{who} makes recognisable images most often; the intervals of the others lie wholly below.",
        "{who} produit le plus souvent des images reconnaissables ; les intervalles des autres "
        "sont entièrement en dessous.",
    ),
    "recognisable.undecided": (
        "Which model is recognised most often is not decided at this sample count: the "
        "intervals of {who} overlap.",
        "On ne peut trancher quel modèle est le plus souvent reconnu avec ce nombre "
        "d'échantillons : les intervalles se chevauchent pour {who}.",
    ),
    "sharpness.blurry": (
        "Samples made by {who} are blurrier than real images: {value} times their sharpness "
        "{interval}{aside}.",
        "Les échantillons que produit {who} sont plus flous que les vraies images : {value} "
        "fois leur netteté {interval}{aside}.",
    ),
    "sharpness.over": (
        "Samples made by {who} are over-sharp: {value} times the sharpness of real images "
        "{interval}{aside}.",
        "Les échantillons que produit {who} sont trop nets : {value} fois la netteté des "
        "vraies images {interval}{aside}.",
    ),
    "sharpness.level": (
        "Samples made by {who} are as sharp as real images, as far as {n} samples can tell: "
        "{value} times their sharpness {interval}{aside}.",
        "Les échantillons que produit {who} sont aussi nets que les vraies images, autant que "
        "{n} échantillons permettent de le dire : {value} fois leur netteté {interval}{aside}.",
    ),
    "aside": (" ({note})", " ({note})"),
    "sharpness.order": (
        "From blurriest to sharpest: {order}. No two intervals overlap.",
        "Du plus flou au plus net : {order}. Aucun intervalle n'en chevauche un autre.",
    ),
    "balance.best": (
        "{who} keeps class shares nearest to the real ones: total variation {value} "
        "{interval}; the intervals of the others lie wholly above.",
        "{who} garde les proportions des classes les plus proches du réel : variation totale "
        "{value} {interval} ; les intervalles des autres sont entièrement au-dessus.",
    ),
    "balance.undecided": (
        "Which model keeps the class shares best is not decided at this sample count: the "
        "intervals of {who} overlap.",
        "On ne peut trancher quel modèle garde le mieux les proportions des classes avec ce "
        "nombre d'échantillons : les intervalles se chevauchent pour {who}.",
    ),
    "likelihood.bound": (
        "A real test image costs at most {value} bits per dimension {interval} with {who} (an "
        "upper bound).",
        "Une vraie image de test coûte au plus {value} bits par dimension {interval} avec "
        "{who} (borne supérieure).",
    ),
    "likelihood.value": (
        "A real test image costs {value} bits per dimension {interval} with {who}.",
        "Une vraie image de test coûte {value} bits par dimension {interval} avec {who}.",
    ),
    "likelihood.none": (
        "No likelihood for {who} ({note}).",
        "Pas de vraisemblance pour {who} ({note}).",
    ),
    "likelihood.best": (
        "{who} needs the fewest bits; the intervals of the others lie wholly above.",
        "{who} demande le moins de bits ; les intervalles des autres sont entièrement au-dessus.",
    ),
    "likelihood.bounds.best": (
        "{who} has the lowest bound; the intervals of the other bounds lie wholly above. A "
        "bound does not tell how far below it the true value is.",
        "{who} a la borne la plus basse ; les intervalles des autres bornes sont entièrement "
        "au-dessus. Une borne ne dit pas à quelle distance au-dessous se trouve la vraie valeur.",
    ),
    "reconstruction.value": (
        "Test images come back from {who} at {value} dB {interval}.",
        "Les images de test reconstruites par {who} sont à {value} dB {interval}.",
    ),
    "reconstruction.none": (
        "No reconstruction by {who} ({note}).",
        "Pas de reconstruction par {who} ({note}).",
    ),
    "cost.sampling": (
        "Drawing one image takes {slow} {slow_time}, {ratio} times as long as {fast} "
        "({fast_time}).",
        "Tirer une image demande {slow_time} avec {slow}, soit {ratio} fois plus qu'avec "
        "{fast} ({fast_time}).",
    ),
    "cost.level": (
        "Drawing one image takes about the same time with every model, from {fast_time} to "
        "{slow_time}.",
        "Tirer une image demande à peu près le même temps avec chaque modèle, de {fast_time} à "
        "{slow_time}.",
    ),
    "cost.calls": (
        "One sample costs {calls} network calls with {who}, and a single one with {others}.",
        "Un échantillon coûte {calls} appels du réseau avec {who}, et un seul avec {others}.",
    ),
    "cost.training": (
        "In {least_time} to {most_time} of training, {most} saw {most_images} images and "
        "{fewest} {fewest_images}, {ratio} times fewer.",
        "En {least_time} à {most_time} d'apprentissage, {most} a vu {most_images} images et "
        "{fewest} {fewest_images}, soit {ratio} fois moins.",
    ),
    "caution.few": (
        "Only {n} samples were measured: read the intervals, not the values.",
        "Seuls {n} échantillons ont été mesurés : lire les intervalles, pas les valeurs.",
    ),
    "caution.seeds": (
        "Each model was trained once: the intervals cover the choice of samples, not the luck "
        "of training. Another seed may change a close order.",
        "Chaque modèle n'a été entraîné qu'une fois : les intervalles tiennent compte du choix "
        "des échantillons, pas du hasard de l'apprentissage. Une autre graine peut changer un "
        "ordre serré.",
    ),
    "caution.unequal": (
        "The runs were not equal in all that was to be held equal: see the mark at the top.",
        "Les modèles n'ont pas été égaux en tout ce qui devait l'être : voir l'alerte en tête "
        "de page.",
    ),
}
