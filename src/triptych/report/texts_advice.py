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
    )
}
