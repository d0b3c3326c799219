"""Every text of the page, English and French side by side under one key.

French is written with ordinary spaces and straight apostrophes; `tongue` sets the proper ones.
NOTES holds the sentences that other parts of Triptych write into JSON files, in English; PATTERNS
those with numbers in them.
"""

from triptych.report.texts_advice import ADVICE
from triptych.report.texts_claims import CLAIMS_TEXTS
from triptych.report.texts_data import DATA_NOTES
from triptych.report.texts_metrics import METRICS
from triptych.report.texts_practical import PRACTICAL
from triptych.report.texts_reading import READING

Pair = tuple[str, str]

PAGE: dict[str, Pair] = {
    "lang": ("en", "fr"),
    "and": ("and", "et"),
    "seed": ("seed", "graine"),
    "colon": (": ", " : "),
    "family.vae": ("the VAE", "le VAE"),
    "family.gan": ("the GAN", "le GAN"),
    "family.diffusion": ("the diffusion model", "le modèle de diffusion"),
    "short.vae": ("VAE", "VAE"),
    "short.gan": ("GAN", "GAN"),
    "short.diffusion": ("Diffusion", "Diffusion"),
    "title": ("Generative models of {data}, compared", "Modèles génératifs de {data}, comparés"),
    "title.practical": (
        "The practical on {data}, answered by measurements",
        "Les travaux pratiques sur {data}, réponses mesurées",
    ),
    "skip": ("Skip to the verdict", "Aller au verdict"),
    "fact.images": ("Images", "Images"),
    "fact.images.value": (
        "{train} training, {validation} validation, {test} test",
        "{train} apprentissage, {validation} validation, {test} test",
    ),
    "fact.format": ("Format", "Format"),
    "fact.format.value": (
        "{resolution} × {resolution} pixels, {channels} channels",
        "{resolution} × {resolution} pixels, {channels} canaux",
    ),
    "fact.budget": ("Budget per model", "Budget par modèle"),
    "fact.size": ("Size", "Taille"),
    "fact.count": ("Samples measured", "Échantillons mesurés"),
    "fact.device": ("Device", "Calcul"),
    "fact.threads": (
        "{device}, {precision}, {threads} threads",
        "{device}, {precision}, {threads} fils d'exécution",
    ),
    "alert.title": ("These runs are not equal", "Ces modèles n'ont pas été traités également"),
    "alert.mild": ("Held equal in all but this", "Égaux en tout, à ceci près"),
    "alert.forced": (
        "The comparison was forced: read every difference between the models with what follows "
        "in mind.",
        "La comparaison a été forcée : chaque écart entre modèles se lit en gardant à l'esprit "
        "ce qui suit.",
    ),
    "alert.nothing": ("What differs was not recorded.", "Ce qui diffère n'a pas été noté."),
    "nav.verdict": ("Verdict", "Verdict"),
    "nav.table": ("Measurements", "Mesures"),
    "nav.panels": ("Three panels", "Triptyque"),
    "nav.training": ("Training", "Apprentissage"),
    "nav.cost": ("Cost", "Coût"),
    "nav.practical": ("The practical", "Travaux pratiques"),
    "nav.method": ("Method", "Méthode"),
    "verdict.title": ("The verdict", "Le verdict"),
    "verdict.intro": (
        "Every sentence here is drawn from the numbers of this comparison, and is there only "
        "because they support it.",
        "Chaque phrase est tirée des nombres de cette comparaison, et ne figure ici que parce "
        "qu'ils l'établissent.",
    ),
    "verdict.empty": (
        "These numbers support no statement. The table shows what was measured.",
        "Ces nombres ne permettent aucune affirmation. Le tableau montre ce qui a été mesuré.",
    ),
    "topic.distance": ("Distance", "Distance"),
    "topic.recognisable": ("Recognisable", "Reconnaissance"),
    "topic.sharpness": ("Sharpness", "Netteté"),
    "topic.variety": ("Variety", "Variété"),
    "topic.interpolation": ("Interpolation", "Interpolation"),
    "topic.representation": ("Representation", "Représentation"),
    "topic.balance": ("Balance", "Équilibre"),
    "topic.likelihood": ("Likelihood", "Vraisemblance"),
    "topic.reconstruction": ("Reconstruction", "Reconstruction"),
    "topic.cost": ("Cost", "Coût"),
    "topic.caution": ("Caution", "Prudence"),
    "table.title": ("What was measured", "Ce qui a été mesuré"),
    "table.intro": (
        "Brackets hold 95 % intervals. A mark stands beside the best model of a column only "
        "where the interval of its difference from every other one excludes zero. Click a "
        "heading to sort.",
        "Les crochets donnent des intervalles à 95 %. Une marque signale le meilleur modèle "
        "d'une colonne seulement si l'intervalle de son écart avec chacun des autres exclut "
        "zéro. Cliquer sur un titre pour trier.",
    ),
    "table.group.distance": ("How far from real images", "À quelle distance des vraies images"),
    "table.group.samples": ("What the samples are like", "Comment sont les échantillons"),
    "table.group.abilities": (
        "What the models do with real images",
        "Ce que les modèles font de vraies images",
    ),
    "table.group.other": ("Further measurements", "Autres mesures"),
    "table.trainings": ("Each training on its own", "Chaque apprentissage séparément"),
    "table.model": ("Model", "Modèle"),
    "table.floor": ("Real images", "Vraies images"),
    "table.floor.small": ("the floor", "le plancher"),
    "table.undefined": ("not defined", "non défini"),
    "table.missing": ("not measured", "non mesuré"),
    "table.best": ("best", "meilleur"),
    "table.notes": ("Notes to the table", "Notes du tableau"),
    "table.sort": ("Sort by {column}", "Trier par {column}"),
    "table.samples": ("n\u00a0=\u00a0{n}", "n\u00a0=\u00a0{n}"),
    "better.lower": ("lower is better", "à minimiser"),
    "better.higher": ("higher is better", "à maximiser"),
    "better.floor": ("nearest to real", "au plus près du réel"),
    "kind.exact": ("exact", "exact"),
    "kind.estimate": ("estimate", "estimation"),
    "kind.lower bound": ("lower bound", "borne inférieure"),
    "kind.upper bound": ("upper bound", "borne supérieure"),
    "reference.test": ("against test images", "face aux images de test"),
    "reference.train": ("against training images", "face aux images d'apprentissage"),
    "reference.validation": ("against validation images", "face aux images de validation"),
    "on.features": ("features: {features}", "caract. : {features}"),
    "panels.title": ("Three panels, side by side", "Le triptyque"),
    "panels.intro": (
        "The same kinds of picture for every model, in the same order.",
        "Les mêmes sortes d'images pour chaque modèle, dans le même ordre.",
    ),
    "panels.real": ("Real images", "Vraies images"),
    "panels.question": ("practical {id}", "TP {id}"),
    "panels.samples": ("Samples", "Échantillons"),
    "panels.reconstruction": ("Reconstructions beside originals", "Reconstructions et originaux"),
    "panels.interpolation": ("Interpolation", "Interpolation"),
    "panels.nearest": (
        "The samples nearest to a training image",
        "Les échantillons les plus proches d'une image d'apprentissage",
    ),
    "panels.trajectory": ("From noise to image", "Du bruit à l'image"),
    "panels.progress": ("Progress along training", "Progrès au fil de l'apprentissage"),
    "caption.samples": ("Samples drawn after training.", "Échantillons tirés après apprentissage."),
    "caption.real": (
        "Test images, for the eye to compare with.",
        "Images de test, pour comparer à l'œil.",
    ),
    "caption.reconstruction": (
        "Row pairs: test images above, their reconstructions below.",
        "Lignes deux à deux : images de test au-dessus, leurs reconstructions en dessous.",
    ),
    "caption.interpolation": (
        "Each row is one path from its left end to its right end.",
        "Chaque ligne est un chemin, de son extrémité gauche à son extrémité droite.",
    ),
    "caption.nearest": (
        "Samples above, the training image nearest to each below; the nearest pair is first.",
        "Échantillons au-dessus, l'image d'apprentissage la plus proche en dessous ; la paire la "
        "plus proche vient en premier.",
    ),
    "caption.trajectory": (
        "Each row is one image, from pure noise to the finished sample.",
        "Chaque ligne est une image, du bruit pur à l'échantillon achevé.",
    ),
    "caption.progress": ("After {images} images", "Après {images} images"),
    "alt.real": ("Grid of real test images of {data}", "Grille de vraies images de test de {data}"),
    "alt.samples": ("Grid of samples made by {who}", "Grille d'échantillons produits par {who}"),
    "alt.reconstruction": (
        "Test images and, below each row, their reconstructions by {who}",
        "Images de test et, sous chaque ligne, leurs reconstructions par {who}",
    ),
    "alt.interpolation": (
        "Rows of images, each a path between two latents of {who}",
        "Lignes d'images, chacune un chemin entre deux points latents pour {who}",
    ),
    "alt.nearest": (
        "Samples made by {who} and, below each, the training image nearest to it",
        "Échantillons produits par {who} et, sous chacun, l'image d'apprentissage la plus proche",
    ),
    "alt.trajectory": (
        "Rows of images going from noise to a sample, by {who}",
        "Lignes d'images allant du bruit à un échantillon, par {who}",
    ),
    "alt.progress": (
        "Grid of samples made by {who} after {images} training images",
        "Grille d'échantillons produits par {who} après {images} images d'apprentissage",
    ),
    "alt.hero": ("Sixteen samples made by {who}", "Seize échantillons produits par {who}"),
    "picture.none": ("no picture", "pas d'image"),
    "picture.missing": ("the file was not found", "le fichier est introuvable"),
    "picture.corrupt": ("the file cannot be read", "le fichier est illisible"),
    "training.title": ("How training went", "Comment s'est passé l'apprentissage"),
    "training.none": (
        "No losses were recorded for {who}.",
        "Aucune perte n'a été enregistrée pour {who}.",
    ),
    "training.images": ("images seen", "images vues"),
    "training.alt": (
        "{objective} against images seen, from {first} to {last}",
        "{objective} selon les images vues, de {first} à {last}",
    ),
    "objective.bound": ("Negative bound (nats)", "Borne changée de signe (nats)"),
    "objective.critic": ("Critic loss", "Perte du critique"),
    "objective.generator": ("Generator loss", "Perte du générateur"),
    "objective.denoiser": ("Denoiser loss", "Perte du débruiteur"),
    "objective.consistency": ("Distance of the answers", "Distance entre les réponses"),
    "objective.inversion": ("Finding the latent of an image", "Retrouver le latent d'une image"),
    "objective.game": ("The players, beside real images", "Les joueurs, face aux vraies images"),
    "objective.score": (
        "Snapshots scored on validation images; the chosen one is marked",
        "Instantanés notés sur les images de validation ; celui qui est retenu est marqué",
    ),
    "objective.rate": (
        "Rate and distortion (bits per dimension)",
        "Débit et distorsion (bits par dimension)",
    ),
    "objective.kl": ("KL of each level (nats)", "KL de chaque niveau (nats)"),
    "objective.speed": ("Speed (images per second)", "Vitesse (images par seconde)"),
    "term.total": ("total", "total"),
    "term.reconstruction": ("reconstruction", "reconstruction"),
    "term.kl": ("KL", "KL"),
    "term.rate": ("rate", "débit"),
    "term.distortion": ("distortion", "distorsion"),
    "term.separation": (
        "pairs that the critic tells apart",
        "paires que le critique distingue",
    ),
    "term.spread": ("spread of fake images", "étendue des images produites"),
    "term.reach": ("real images they come near", "vraies images qu'elles approchent"),
    "term.memory": ("the critic's memory", "mémoire du critique"),
    "term.score": ("score", "score"),
    "term.latents": ("error of latents", "erreur des latents"),
    "term.pixels": ("error of pixels", "erreur des pixels"),
    "curve.schedule": ("Noise levels of the sampler", "Niveaux de bruit de l'échantillonneur"),
    "across.schedule": ("step", "pas"),
    "curve.error_by_level": (
        "Error of the denoised image",
        "Erreur de l'image débruitée",
    ),
    "across.error_by_level": ("noise level", "niveau de bruit"),
    "curve.quality_by_calls": (
        "Kernel distance to real images by network calls",
        "Distance à noyau aux vraies images selon les appels du réseau",
    ),
    "across.quality_by_calls": (
        "network calls for each image; upright: the default",
        "appels du réseau par image ; trait vertical : le choix par défaut",
    ),
    "term.heun": ("Heun", "Heun"),
    "term.dpm-solver++": ("DPM-Solver++(2M)", "DPM-Solver++(2M)"),
    "term.consistency": ("consistency", "cohérence"),
    "term.sigma": ("noise level", "niveau de bruit"),
    "term.denoised": ("denoised", "débruitée"),
    "term.noise": ("noisy", "bruitée"),
    "term.speed": ("speed", "vitesse"),
    "warnings": ("Warnings", "Avertissements"),
    "cost.title": ("What it cost", "Ce que cela a coûté"),
    "cost.note": (
        "Measured on this machine; evaluation and data preparation are not counted as training.",
        "Mesuré sur cette machine ; l'évaluation et la préparation des données ne comptent pas "
        "dans l'apprentissage.",
    ),
    "cost.parameters": ("Parameters", "Paramètres"),
    "cost.train_seconds": ("Training time", "Temps pour apprendre"),
    "cost.images_seen": ("Images seen", "Images vues"),
    "cost.train_images_per_second": ("Images per second", "Images par seconde"),
    "cost.flops_per_image": ("Operations per image", "Opérations par image"),
    "cost.sample_seconds_per_image": ("Time per sample", "Temps par échantillon"),
    "cost.network_calls": ("Network calls per sample", "Appels du réseau par échantillon"),
    "cost.peak_memory_bytes": ("Peak memory", "Mémoire maximale"),
    "cost.process_memory_bytes": (
        "Peak memory of the process that trained all models in turns",
        "Mémoire maximale du processus qui a entraîné tous les modèles à tour de rôle",
    ),
    "method.title": ("How it was measured", "Comment cela a été mesuré"),
    "method.definitions": ("Definitions", "Définitions"),
    "method.protocol": ("Protocol", "Protocole"),
    "method.repeat": ("How to repeat it", "Comment le refaire"),
    "method.commands": ("Commands", "Commandes"),
    "method.versions": ("Versions and hardware", "Versions et matériel"),
    "method.settings": ("Settings of {run}", "Réglages de {run}"),
    "method.choices": ("Choices made for this hardware", "Choix faits pour ce matériel"),
    "method.fingerprint": ("Data fingerprint", "Empreinte des données"),
    "method.counts": (
        "Each measurement uses {count} samples per model, drawn with evaluation seed {seed}; "
        "pixels are rounded to 8 bits for generated and for real images alike. A VAE's samples "
        "are means of its pixels' distributions, without pixel noise.",
        "Chaque mesure porte sur {count} échantillons par modèle, tirés avec la graine "
        "d'évaluation {seed} ; les pixels sont arrondis à 8 bits, pour les images produites "
        "comme pour les vraies. Les échantillons d'un VAE sont les moyennes de ses lois de "
        "pixels, sans bruit de pixel.",
    ),
    "method.interval": (
        "Brackets are 95 % intervals of the expected value at that number of samples. Methods: "
        "{methods}. They cover the choice of samples, not the luck of training.",
        "Les crochets sont des intervalles à 95 % de la valeur attendue pour ce nombre "
        "d'échantillons. Méthodes : {methods}. Ils tiennent compte du choix des échantillons, "
        "pas du hasard de l'apprentissage.",
    ),
    "method.trainings": (
        "Brackets are 95 % intervals of the mean over trainings (Student's), which hold the luck "
        "of training and the choice of samples.",
        "Les crochets sont des intervalles à 95 % de la moyenne sur les apprentissages (Student), "
        "qui tiennent compte du hasard de l'apprentissage et du choix des échantillons.",
    ),
    "method.differences": (
        "A model is called better only where the 95 % interval of the difference excludes zero: "
        "real images are the same for all models, so what their choice does to both is taken "
        "out of the difference.",
        "Un modèle n'est dit meilleur que si l'intervalle à 95 % de l'écart exclut zéro : les "
        "vraies images étant les mêmes pour tous les modèles, l'effet commun de leur choix est "
        "retiré de l'écart.",
    ),
    "method.floor": (
        "The floor is the score of real images against other real images, with the same "
        "counts: no model can be asked to do better.",
        "Le plancher est le score de vraies images par rapport à d'autres vraies images, aux "
        "mêmes nombres : on ne peut demander mieux à aucun modèle.",
    ),
    "method.choose": (
        "Every choice made during training used the validation images; the test images were "
        "kept for this page.",
        "Tous les choix faits pendant l'apprentissage ont utilisé les images de validation ; "
        "les images de test ont été gardées pour cette page.",
    ),
    "foot": (
        "Made by Triptych {version}. This page needs no network: its pictures and styles are "
        "inside it.",
        "Fait par Triptych {version}. Cette page n'a pas besoin du réseau : ses images et ses "
        "styles sont en elle.",
    ),
}

NOTES: dict[str, str] = {
    "a GAN has no explicit density: its likelihood is not defined": (
        "un GAN n'a pas de densité explicite : sa vraisemblance n'est pas définie"
    ),
    "a consistency model jumps to the image: no path leads back to noise": (
        "un modèle de cohérence saute jusqu'à l'image : aucun chemin ne ramène au bruit"
    ),
    "a consistency model has no density that could be followed": (
        "un modèle de cohérence n'a pas de densité que l'on puisse suivre"
    ),
    "the data have no labels: no classifier can be trained on them": (
        "les données n'ont pas d'étiquettes : aucun classifieur ne peut être entraîné dessus"
    ),
    "mean decodes, without pixel noise": "décodages moyens, sans bruit de pixel",
    "draws for each image": "tirages par image",
    "labels withheld from the model, draws for each image": (
        "étiquettes cachées au modèle, tirages par image"
    ),
    "told the labels in training: samples are of all classes, by their shares in the data": (
        "étiquettes données à l'apprentissage : échantillons de toutes les classes, selon leurs "
        "parts dans les données"
    ),
    "measured on other data than it was trained on: its training images may be among them": (
        "mesuré sur d'autres données que celles de son apprentissage : ses images "
        "d'apprentissage peuvent en faire partie"
    ),
    "fewer than 2,000 samples: read the interval, not the value": (
        "moins de 2 000 échantillons : lire l'intervalle, pas la valeur"
    ),
    "delete-group jackknife": "jackknife par groupes",
    "extrapolated": "extrapolation à une infinité d'images",
    "normal": "loi normale",
    "random halves": "moitiés tirées au hasard",
    "images smaller than the 11 pixels that SSIM looks at together": (
        "images plus petites que les 11 pixels que SSIM regarde ensemble"
    ),
    "the paths lead nowhere: both ends are decoded alike": (
        "les chemins ne mènent nulle part : les deux extrémités donnent la même image"
    ),
    "fewer than two pairs of test images": "moins de deux paires d'images de test",
    "the data have no labels to read off a representation": (
        "les données n'ont pas d'étiquettes à lire dans une représentation"
    ),
    "too few labelled images": "trop peu d'images étiquetées",
    "fewer than twice as many images as features": (
        "moins de deux fois plus d'images que de caractéristiques"
    ),
    "fewer images than nearest neighbours are looked for among": (
        "moins d'images qu'il n'en faut pour y chercher les plus proches voisins"
    ),
    "training images looked among": "images d'apprentissage parcourues",
    "told the labels, as the others were not": (
        "étiquettes données à l'apprentissage, contrairement aux autres"
    ),
    "true training seconds differ by more than 10 %": (
        "les durées réelles d'apprentissage diffèrent de plus de 10 %"
    ),
    **DATA_NOTES,
}

PATTERNS: dict[str, str] = ADVICE | {
    "guided by {weight} to their classes": "guidés de {weight} vers leurs classes",
    "guided by {weight} to groups found among training images": (
        "guidés de {weight} vers des groupes trouvés parmi les images d'apprentissage"
    ),
    "mean decodes, without pixel noise, fine latents drawn at {share} of their deviation": (
        "décodages moyens, sans bruit de pixel, latents fins tirés à {share} de leur écart type"
    ),
}

TEXTS: dict[str, Pair] = {**PAGE, **METRICS, **READING, **PRACTICAL, **CLAIMS_TEXTS}
