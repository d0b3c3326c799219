"""Names and one-sentence definitions of the metrics, English and French side by side."""

METRICS: dict[str, tuple[str, str]] = {
    "metric.frechet_distance": ("Fréchet distance", "Distance de Fréchet"),
    "metric.fid": ("FID", "FID"),
    "metric.frechet_distance.extrapolated": (
        "Fréchet distance, extrapolated",
        "Distance de Fréchet extrapolée",
    ),
    "metric.fid.extrapolated": ("FID, extrapolated", "FID extrapolée"),
    "metric.kernel_distance": ("Kernel distance", "Distance à noyau"),
    "metric.precision": ("Precision", "Précision"),
    "metric.recall": ("Recall", "Rappel"),
    "metric.density": ("Density", "Densité"),
    "metric.coverage": ("Coverage", "Couverture"),
    "metric.recognisable": ("Recognisable share", "Part reconnaissable"),
    "metric.label_balance": ("Class imbalance", "Déséquilibre des classes"),
    "metric.sharpness": ("Sharpness", "Netteté"),
    "metric.bits_per_dim": ("Bits per dimension", "Bits par dimension"),
    "metric.reconstruction_psnr": ("Reconstruction PSNR", "PSNR de reconstruction"),
    "metric.reconstruction_ssim": ("Reconstruction SSIM", "SSIM de reconstruction"),
    "metric.path_length": ("Path length", "Longueur des chemins"),
    "metric.path_uniformity": ("Path unevenness", "Irrégularité des chemins"),
    "metric.probe_accuracy": ("Probe accuracy", "Exactitude de la sonde"),
    "metric.memorised": ("Memorised share", "Part mémorisée"),
    "unit.ratio to straight": ("times straight", "fois le plus court"),
    "unit.ratio to real": ("times real", "fois le réel"),
    "unit.bits per dimension": ("bits", "bits"),
    "unit.dB": ("dB", "dB"),
    "features.labels": ("the label classifier's features", "les caractéristiques du classifieur"),
    "features.patches": ("image patches", "des morceaux d'image"),
    "definition.frechet_distance": (
        "Distance between two Gaussians fitted to the features of generated and of real images "
        "(arXiv:1706.08500). It is called FID on Inception features and on no others. It falls "
        "as images look more like real ones and vary as much.",
        "Distance entre deux gaussiennes ajustées aux caractéristiques des images produites et "
        "des vraies images (arXiv:1706.08500). Elle ne s'appelle FID que sur les "
        "caractéristiques d'Inception. Elle baisse quand les images ressemblent davantage aux "
        "vraies et varient autant.",
    ),
    "definition.frechet_distance.extrapolated": (
        "The same distance as it would be with infinitely many images: few images make it too "
        "large, by an amount that falls as one over their number. It may come out below zero.",
        "La même distance telle qu'elle serait avec une infinité d'images : peu d'images la "
        "rendent trop grande, d'une quantité qui baisse comme l'inverse de leur nombre. Elle "
        "peut tomber sous zéro.",
    ),
    "definition.kernel_distance": (
        "Unbiased squared maximum mean discrepancy between features, with a cubic polynomial "
        "kernel (arXiv:1801.01401).",
        "Carré non biaisé de l'écart moyen maximal entre caractéristiques, avec un noyau "
        "polynomial cubique (arXiv:1801.01401).",
    ),
    "definition.precision": (
        "Share of generated images that lie among the five nearest neighbours of real ones "
        "(arXiv:1904.06991).",
        "Part des images produites qui tombent parmi les cinq plus proches voisins des vraies "
        "(arXiv:1904.06991).",
    ),
    "definition.recall": (
        "Share of real images that lie among the five nearest neighbours of generated ones "
        "(arXiv:1904.06991).",
        "Part des vraies images qui tombent parmi les cinq plus proches voisins des images "
        "produites (arXiv:1904.06991).",
    ),
    "definition.density": (
        "How many neighbourhoods of real images hold a generated image, on average, over five "
        "(arXiv:2002.09797).",
        "Nombre moyen de voisinages de vraies images qui contiennent une image produite, "
        "divisé par cinq (arXiv:2002.09797).",
    ),
    "definition.coverage": (
        "Share of real images whose neighbourhood holds at least one generated image "
        "(arXiv:2002.09797).",
        "Part des vraies images dont le voisinage contient au moins une image produite "
        "(arXiv:2002.09797).",
    ),
    "definition.recognisable": (
        "Share of images to which a classifier, trained on the real training images, gives one "
        "class with a probability above 0.8.",
        "Part des images auxquelles un classifieur, entraîné sur les vraies images "
        "d'apprentissage, donne une classe avec une probabilité supérieure à 0,8.",
    ),
    "definition.label_balance": (
        "Total variation between the class shares of generated and of real images, by the same "
        "classifier: 0 when equal, 1 when no class is shared.",
        "Variation totale entre les proportions des classes dans les images produites et dans "
        "les vraies, selon le même classifieur : 0 si elles sont égales, 1 si aucune classe "
        "n'est commune.",
    ),
    "definition.sharpness": (
        "Median over images of the root-mean-square Laplacian of the grey image, divided by "
        "that of real images: below 1 is blurry, above 1 is over-sharp or noisy.",
        "Médiane, sur les images, de la moyenne quadratique du laplacien de l'image grise, "
        "divisée par celle des vraies images : sous 1 c'est flou, au-dessus de 1 trop net ou "
        "bruité.",
    ),
    "definition.bits_per_dim": (
        "Minus the base-2 logarithm of the probability of a real 8-bit test image, divided by "
        "its number of values. Where only a lower bound of the probability is known, this is "
        "an upper bound (VAE: arXiv:1312.6114; diffusion: arXiv:2006.11239).",
        "Opposé du logarithme en base 2 de la probabilité d'une vraie image de test sur 8 "
        "bits, divisé par son nombre de valeurs. Là où l'on ne connaît qu'une borne inférieure "
        "de la probabilité, c'est une borne supérieure (VAE : arXiv:1312.6114 ; diffusion : "
        "arXiv:2006.11239).",
    ),
    "definition.reconstruction_psnr": (
        "Peak signal-to-noise ratio between test images and their reconstructions, 8 bits, "
        "computed per image and then averaged.",
        "Rapport signal sur bruit de crête entre les images de test et leurs reconstructions, "
        "sur 8 bits, calculé par image puis moyenné.",
    ),
    "definition.reconstruction_ssim": (
        "Structural similarity between test images and their reconstructions, 11 × 11 Gaussian "
        "window, averaged over images.",
        "Similarité structurelle entre les images de test et leurs reconstructions, fenêtre "
        "gaussienne 11 × 11, moyennée sur les images.",
    ),
    "definition.path_length": (
        "Feature distance summed along an interpolation of 16 points, over the distance "
        "between its ends: 1 is a straight path.",
        "Distance entre caractéristiques sommée le long d'une interpolation de 16 points, "
        "divisée par la distance entre ses extrémités : 1 est un chemin droit.",
    ),
    "definition.path_uniformity": (
        "Coefficient of variation of the feature steps along an interpolation: 0 is quite even.",
        "Coefficient de variation des pas entre caractéristiques le long d'une interpolation : "
        "0 est parfaitement régulier.",
    ),
    "definition.probe_accuracy": (
        "Test accuracy of a logistic regression on the model's frozen representation of 5,000 "
        "training images. Its floor is that of the same probe on raw pixels.",
        "Exactitude en test d'une régression logistique sur la représentation figée de 5 000 "
        "images d'apprentissage par le modèle. Son plancher est celui de la même sonde sur les "
        "pixels bruts.",
    ),
    "definition.memorised": (
        "Share of samples nearer to a training image, in features, than 99 % of held-out real "
        "images are: 1 % is what a model that copies nothing has. Smooth, typical samples are "
        "near to many images, so look at the pairs.",
        "Part des échantillons plus proches d'une image d'apprentissage, en caractéristiques, "
        "que ne le sont 99 % des vraies images mises de côté : 1 % est ce qu'a un modèle qui ne "
        "copie rien. Des échantillons lisses et typiques sont proches de beaucoup d'images : "
        "regarder les paires.",
    ),
}
