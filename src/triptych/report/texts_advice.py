"""French of what the diagnoses along training advise; what stands in braces is filled in."""

TELL_LATENTS = (
    "{active} of {units} units of the latent are active, its KL is {kl} nats: ",
    "{active} des {units} unités du latent sont actives, sa KL est de {kl} nats : ",
)
TELL_LEVEL = (
    "{active} of {units} units of the level {level} are active, its KL is {kl} nats: ",
    "{active} des {units} unités du niveau {level} sont actives, sa KL est de {kl} nats : ",
)
TELL_IGNORED = (
    "the decoder ignores the latents, an image's own predict it {gain} nats better than another "
    "image's, and cost {rate} nats: ",
    "le décodeur ignore les latents, ceux d'une image la prédisent {gain} nats mieux que ceux "
    "d'une autre et coûtent {rate} nats : ",
)
LONGER = (
    "raise the KL's warm-up, --set warm_up={warm_up}, or the --budget, or lower ",
    "allonger la montée de la KL, --set warm_up={warm_up}, ou le --budget, ou diminuer ",
)
MENDS = {
    "train vae:sigma, which learns the pixels' deviation": (
        "entraîner vae:sigma, qui apprend l'écart type des pixels"
    ),
    LONGER[0] + "--set latent": LONGER[1] + "--set latent",
    LONGER[0] + "--set vector": LONGER[1] + "--set vector",
    LONGER[0] + "its number in --set latents": LONGER[1] + "son nombre dans --set latents",
}
ADVICE: dict[str, str] = {
    english + mend: french + mend_in_french
    for english, french in (TELL_LATENTS, TELL_LEVEL, TELL_IGNORED)
    for mend, mend_in_french in MENDS.items()
} | {
    "over-fitting, {seen} bits per dimension on training images and {unseen} on validation "
    "images: give more data, --flip or --crop 2 where that suits them, a smaller --size or a "
    "shorter --budget": (
        "surapprentissage, {seen} bits par dimension sur les images d'apprentissage et {unseen} "
        "sur celles de validation : donner plus de données, --flip ou --crop 2 si elles s'y "
        "prêtent, un --size plus petit ou un --budget plus court"
    ),
    "the critic tells {separation} of the pairs apart and leaves the generator a slope of {slope}: "
    "lower the critic's learning rate, or train gan:r3, whose penalties keep it smooth": (
        "le critique distingue {separation} des paires et ne laisse au générateur qu'une pente de "
        "{slope} : diminuer le taux d'apprentissage du critique, ou entraîner gan:r3, dont les "
        "pénalités le gardent lisse"
    ),
    "the fake images are {spread} times as far apart as real ones and come near {reach} times as "
    "many of them: lower the learning rates, or train gan:r3, which pairs real and fake images": (
        "les images produites sont {spread} fois aussi éloignées entre elles que les vraies et "
        "en approchent {reach} fois autant : diminuer les taux d'apprentissage, ou entraîner "
        "gan:r3, qui apparie vraies et fausses images"
    ),
    "the critic knows its training images by heart, {memory} of the way: give more data, "
    "--set augment=true, or a shorter --budget": (
        "le critique connaît par cœur ses images d'apprentissage, {memory} du chemin : donner "
        "plus de données, --set augment=true, ou un --budget plus court"
    ),
}
