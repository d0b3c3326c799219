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
        "{who} has the lowest {measure}: {value} {interval}. The others are behind: {clauses}.",
        "{measure} est la plus basse pour {who} : {value} {interval}. Les autres suivent : "
        "{clauses}.",
    ),
    "distance.undecided": (
        "Not decided at this sample count: the {measure} does not tell {who} apart, since the "
        "intervals of their differences include zero at {n} samples.",
        "Non tranché avec ce nombre d'échantillons : {measure} ne départage pas {who}, car les "
        "intervalles de leurs écarts contiennent zéro pour {n} échantillons.",
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
        "{who} makes recognisable images most often. The others are behind: {clauses}.",
        "{who} produit le plus souvent des images reconnaissables. Les autres suivent : {clauses}.",
    ),
    "recognisable.undecided": (
        "Which model is recognised most often is not decided at this sample count: the intervals "
        "of the differences between {who} include zero.",
        "On ne peut trancher quel modèle est le plus souvent reconnu avec ce nombre "
        "d'échantillons : les intervalles des écarts contiennent zéro pour {who}.",
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
        "From blurriest to sharpest: {order}. Each difference is beyond its interval.",
        "Du plus flou au plus net : {order}. Chaque écart dépasse son intervalle.",
    ),
    "balance.best": (
        "{who} keeps class shares nearest to the real ones: total variation {value} {interval}. "
        "The others are behind: {clauses}.",
        "{who} garde les proportions des classes les plus proches du réel : variation totale "
        "{value} {interval}. Les autres suivent : {clauses}.",
    ),
    "balance.undecided": (
        "Which model keeps the class shares best is not decided at this sample count: the "
        "intervals of the differences between {who} include zero.",
        "On ne peut trancher quel modèle garde le mieux les proportions des classes avec ce "
        "nombre d'échantillons : les intervalles des écarts contiennent zéro pour {who}.",
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
        "{who} needs the fewest bits. The others are behind: {clauses}.",
        "{who} demande le moins de bits. Les autres suivent : {clauses}.",
    ),
    "likelihood.bounds.best": (
        "{who} has the lowest bound. The other bounds are above: {clauses}. A bound does not "
        "tell how far below it the true value is.",
        "{who} a la borne la plus basse. Les autres bornes sont au-dessus : {clauses}. Une borne "
        "ne dit pas à quelle distance au-dessous se trouve la vraie valeur.",
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
    "behind": (
        "{who} by {value} {interval}",
        "{who} (écart de {value} {interval})",
    ),
    "coverage.best": (
        "{who} comes near to most of the real images: {value} {interval} of them have a sample "
        "in their neighbourhood. The others are behind: {clauses}.",
        "{who} s'approche du plus grand nombre de vraies images : {value} {interval} d'entre "
        "elles ont un échantillon dans leur voisinage. Les autres suivent : {clauses}.",
    ),
    "coverage.undecided": (
        "Which model covers most of the real images is not decided at this sample count: the "
        "intervals of the differences between {who} include zero.",
        "On ne peut trancher quel modèle couvre le plus de vraies images avec ce nombre "
        "d'échantillons : les intervalles des écarts contiennent zéro pour {who}.",
    ),
    "memorised.near": (
        "{value} {interval} of the samples made by {who} are nearer to a training image than 99 "
        "% of held-out images are: look at the pairs below before calling it new.",
        "{value} {interval} des échantillons que produit {who} sont plus proches d'une image "
        "d'apprentissage que ne le sont 99 % des images mises de côté : regarder les paires plus "
        "bas avant de les dire nouveaux.",
    ),
    "memorised.none": (
        "No sign of training images learnt by heart by {who}: their samples are no nearer to "
        "them than held-out images are, as far as these intervals tell.",
        "Aucun signe d'images d'apprentissage apprises par cœur pour {who} : leurs échantillons "
        "n'en sont pas plus proches que des images mises de côté, autant que ces intervalles le "
        "disent.",
    ),
    "reconstruction.best": (
        "{who} reconstructs best. The others are behind: {clauses}.",
        "{who} reconstruit le mieux. Les autres suivent : {clauses}.",
    ),
    "path.best": (
        "{who} walks the straightest between real images: {value} {interval} times the distance "
        "of the ends. The others are behind: {clauses}.",
        "{who} va le plus droit d'une vraie image à l'autre : {value} {interval} fois la "
        "distance des extrémités. Les autres suivent : {clauses}.",
    ),
    "path.undecided": (
        "Whose ways between real images are the straightest is not decided: the intervals of the "
        "differences between {who} include zero.",
        "On ne peut trancher qui va le plus droit d'une vraie image à l'autre : les intervalles "
        "des écarts contiennent zéro pour {who}.",
    ),
    "probe.shares": (
        "A linear probe reads the label of {floor} of the test images off their raw pixels, and "
        "{clauses}.",
        "Une sonde linéaire lit l'étiquette de {floor} des images de test dans leurs pixels "
        "bruts ; et {clauses}.",
    ),
    "probe.clause": (
        "of {value} {interval} off the representation of {who}",
        "de {value} {interval} dans la représentation que donne {who}",
    ),
    "probe.best": (
        "{who} represents the labels best. The others are behind: {clauses}.",
        "{who} représente le mieux les étiquettes. Les autres suivent : {clauses}.",
    ),
    "probe.undecided": (
        "Whose representation tells most of the labels is not decided: the intervals of the "
        "differences between {who} include zero.",
        "On ne peut trancher quelle représentation en dit le plus sur les étiquettes : les "
        "intervalles des écarts contiennent zéro pour {who}.",
    ),
    "caution.trainings": (
        "Each model was trained {n} times: values are means, and intervals hold the luck of "
        "training as well as the choice of samples.",
        "Chaque modèle a été entraîné {n} fois : les valeurs sont des moyennes, et les "
        "intervalles tiennent compte du hasard de l'apprentissage comme du choix des "
        "échantillons.",
    ),
    "behind.points": (
        "{who} by {value} points {interval}",
        "{who} (écart de {value} points {interval})",
    ),
}
