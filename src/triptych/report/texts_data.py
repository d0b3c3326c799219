"""How the notes on data begin, in French; what follows the colon varies and stays."""

DATA_NOTES: dict[str, str] = {
    "bad images skipped": "images illisibles écartées",
    "WARNING, bad images skipped": "ATTENTION, images illisibles écartées",
    "resized by --fit stretch": "redimensionnées par --fit stretch (étirées)",
    "resized by --fit crop": "redimensionnées par --fit crop (rognées)",
    "resized by --fit pad": "redimensionnées par --fit pad (complétées de blanc)",
    "shapes vary and are distorted, --fit crop would keep proportions": (
        "les formats varient et sont déformés, --fit crop garderait les proportions"
    ),
    "made square, --fit crop or pad would keep proportions": (
        "rendues carrées, --fit crop ou pad garderait les proportions"
    ),
    "WARNING, most images show hardly any contrast, are their values of another range?": (
        "ATTENTION, la plupart des images n'ont presque pas de contraste, leurs valeurs "
        "sont-elles d'une autre plage ?"
    ),
    "few test images, so what is measured on them is rough or refused": (
        "peu d'images de test, ce qui y est mesuré est grossier ou refusé"
    ),
    "images that are exact copies of others": "images qui sont des copies exactes d'autres",
    "held-out images left out, for they are copies of images nearer to training": (
        "images de test ou de validation écartées, car copies d'images plus proches de "
        "l'apprentissage"
    ),
    "few training images, which models may learn by heart": (
        "peu d'images d'apprentissage, que les modèles peuvent apprendre par cœur"
    ),
    "images without a label, so all labels were left out": (
        "images sans étiquette, toutes les étiquettes sont donc laissées de côté"
    ),
    "many labels for few images, use --label-column none if they are no classes": (
        "beaucoup d'étiquettes pour peu d'images, --label-column none si ce ne sont pas des classes"
    ),
    "files left out, for they name no part as others do": (
        "fichiers écartés, car ils ne nomment aucune partie comme les autres"
    ),
    "labels left out, for they are no whole numbers or names": (
        "étiquettes écartées, car elles ne sont ni des nombres entiers ni des noms"
    ),
    "labels left out, --label-column can name them": (
        "étiquettes écartées, --label-column peut les nommer"
    ),
    "arrays passed over, name one with --label-column": (
        "tableaux ignorés, nommez-en un avec --label-column"
    ),
    "arrays of images without labels": "tableaux d'images sans étiquettes",
    "labels 1 to 10 are read as SVHN's": "les étiquettes 1 à 10 sont lues comme celles de SVHN",
    "splits left out, for they are no train, validation or test": (
        "divisions écartées, car elles ne sont ni train, ni validation, ni test"
    ),
    "the Hub converted only a part of the set to parquet, which is read": (
        "le Hub n'a converti en parquet qu'une partie du jeu de données, qui est lue"
    ),
    "files passed over, for they are not named as images": (
        "fichiers ignorés, car leur nom n'est pas celui d'une image"
    ),
    "parquet files passed over, for there are images": (
        "fichiers parquet ignorés, car il y a des images"
    ),
    "links and devices passed over": "liens et périphériques ignorés",
    "the archive has no end mark and may have been cut short": (
        "l'archive n'a pas de marque de fin et a pu être tronquée"
    ),
    "images left out, for the metadata do not list them": (
        "images écartées, car les métadonnées ne les mentionnent pas"
    ),
    "images listed again in the metadata, of which the first counts": (
        "images citées plusieurs fois dans les métadonnées, dont la première mention compte"
    ),
    "images outside the class folders, so all labels were left out": (
        "images hors des dossiers de classes, toutes les étiquettes sont donc laissées de côté"
    ),
    "folders beside train left out, for they name no part": (
        "dossiers à côté de train écartés, car ils ne désignent aucune partie"
    ),
    "images beside the folder train left out, for they are in no part": (
        "images à côté du dossier train écartées, car elles ne sont d'aucune partie"
    ),
}
