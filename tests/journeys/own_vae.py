from my_vae import images, vae

import priorkit

backbone = priorkit.wrap(
    encode=vae.encode, decode=vae.decode, latents=6, shape=(1, 8, 8), likelihood="bernoulli", output="logits"
)
options = {"prior.stages": 1, "trainer.prior_steps": 300, "sampler.steps": 20, "engine.threads": 1}
model = priorkit.train(backbone=backbone, data="digits", out="runs/mine", options=options, samples=500, quiet=True)
model.show(16).save("samples.png")
scores = model.score(images()[:5])
