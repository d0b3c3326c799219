"""The practical's claims and their judgements, English and French side by side.

In French every model's name is masculine and starts with its article, so no sentence may put "de"
or "à" before it.
"""

CLAIMS_TEXTS: dict[str, tuple[str, str]] = {
    "claims.title": ("What the practical claims", "Ce que les travaux pratiques affirment"),
    "claims.intro": (
        "Two students' reports say this of the three families. Each claim is held against the "
        "measurements above, for these models, these data and this budget alone.",
        "Deux rapports d'étudiants disent ceci des trois familles. Chaque affirmation est "
        "confrontée aux mesures ci-dessus, pour ces modèles, ces données et ce budget seulement.",
    ),
    "judged.supported": ("supported", "confirmé"),
    "judged.refuted": ("not supported", "non confirmé"),
    "judged.undecided": ("not decided by these data", "non tranché par ces données"),
    "judged.unmeasured": ("not measured", "non mesuré"),
    "claim.vae.blurry": ("The VAE's samples are blurry.", "Les échantillons du VAE sont flous."),
    "claim.vae.likelihood": (
        "The VAE's likelihood can be followed.",
        "La vraisemblance du VAE peut être suivie.",
    ),
    "claim.vae.reconstruction": (
        "The VAE's reconstruction is not optimal.",
        "La reconstruction du VAE n'est pas optimale.",
    ),
    "claim.vae.robust": (
        "The VAE is easy and robust to train.",
        "Le VAE est facile et robuste à entraîner.",
    ),
    "claim.vae.cheap": ("The VAE is cheap.", "Le VAE est peu coûteux."),
    "claim.gan.sharp": (
        "The GAN's samples are sharper than the VAE's.",
        "Les échantillons du GAN sont plus nets que ceux du VAE.",
    ),
    "claim.gan.odd": (
        "Some of the GAN's samples are odd.",
        "Certains échantillons du GAN sont étranges.",
    ),
    "claim.gan.evaluation": (
        "There is no way to evaluate a GAN but by eye.",
        "Un GAN ne s'évalue qu'à l'œil.",
    ),
    "claim.gan.likelihood": ("The GAN has no likelihood.", "Le GAN n'a pas de vraisemblance."),
    "claim.gan.unstable": (
        "The GAN's training is unstable.",
        "L'apprentissage du GAN est instable.",
    ),
    "claim.gan.control": (
        "There is no control over which class the GAN draws.",
        "On ne choisit pas la classe que le GAN produit.",
    ),
    "claim.gan.cheap": ("The GAN is cheap.", "Le GAN est peu coûteux."),
    "claim.diffusion.best": (
        "Diffusion makes the best samples.",
        "La diffusion fait les meilleurs échantillons.",
    ),
    "claim.diffusion.clear": (
        "Diffusion's samples are clear, without blur.",
        "Les échantillons de la diffusion sont clairs, sans flou.",
    ),
    "claim.diffusion.slow": (
        "Diffusion is slow to sample.",
        "La diffusion est lente à échantillonner.",
    ),
    "claim.diffusion.training": (
        "Diffusion is slow to train.",
        "La diffusion est lente à entraîner.",
    ),
    "claim.sharpness": (
        "{who}: {value} {interval} times the sharpness of real images.",
        "{who} : {value} {interval} fois la netteté des vraies images.",
    ),
    "claim.bits": (
        "{who}: {value} {interval} bits per dimension.",
        "{who} : {value} {interval} bits par dimension.",
    ),
    "claim.undefined": ("{who}: {note}.", "{who} : {note}."),
    "claim.psnr": ("{who}: {value} dB {interval}.", "{who} : {value} dB {interval}."),
    "claim.distance": (
        "{who}: distance {value} {interval}.",
        "{who} : distance {value} {interval}.",
    ),
    "claim.behind": (
        "{who} is behind the best by {value}.",
        "{who} est à {value} du meilleur.",
    ),
    "claim.recognisable": (
        "{who}: {value} {interval} of the samples are recognised, {floor} of real images.",
        "{who} : {value} {interval} des échantillons sont reconnus, {floor} des vraies images.",
    ),
    "claim.counted": (
        "This page evaluates it by {n} numbers with intervals, of which {decided} tell it from "
        "another model.",
        "Cette page l'évalue par {n} nombres avec intervalles, dont {decided} le distinguent "
        "d'un autre modèle.",
    ),
    "claim.told": (
        "{who} was told the labels here: samples of one class can be asked for.",
        "Les étiquettes ont été données ici : {who} peut tirer une classe voulue.",
    ),
    "claim.untold": (
        "{who} was trained without labels here; with --conditional it can be asked for a class.",
        "{who} a été entraîné ici sans étiquettes ; avec --conditional, on peut demander une "
        "classe.",
    ),
    "claim.trainings": (
        "That takes at least {n} trainings of each model: --seeds {n}.",
        "Il faut au moins {n} apprentissages de chaque modèle : --seeds {n}.",
    ),
    "claim.spread": (
        "{who}: from training to training distances vary by {value} of their mean (deviation).",
        "{who} : d'un apprentissage à l'autre, les distances varient de {value} de leur moyenne "
        "(écart type).",
    ),
    "claim.sample_seconds_per_image": (
        "{who}: {value} for each sample.",
        "{who} : {value} par échantillon.",
    ),
    "claim.train_images_per_second": (
        "{who}: {value} images per second in training.",
        "{who} : {value} images par seconde à l'apprentissage.",
    ),
    "frontier.title": ("Quality against cost", "Qualité selon le coût"),
    "frontier.intro": (
        "Lower is nearer to real images, further left is cheaper: the best place is the lower "
        "left corner. Upright lines are 95 % intervals.",
        "Plus bas est plus proche des vraies images, plus à gauche est moins coûteux : le meilleur "
        "endroit est le coin en bas à gauche. Les traits verticaux sont des intervalles à 95 %.",
    ),
    "frontier.alt": ("{quality} against {cost}: {points}", "{quality} selon {cost} : {points}"),
    "nav.claims": ("Claims", "Affirmations"),
    "nav.frontier": ("Quality and cost", "Qualité et coût"),
    "nav.seeds": ("Trainings", "Apprentissages"),
}
