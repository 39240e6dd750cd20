"""The screens' slow oracle: a plain diffusers loop through the public parts of a pipeline."""

import math

import diffusers
import torch

GUIDANCE, STEPS = 3.0, 4
LEAST_SIGNAL = math.sqrt(0.00466 / 0.99534)


class Plain:
    """A plain diffusers loop over one prompt, seed by seed, with what its network predicts."""

    def __init__(self, folder, size):
        self.pipe = diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
        self.size, self.sampler = size, self.pipe.scheduler

    def score(self, wanted, prompt, seed):
        self.sampler.set_timesteps(STEPS)
        noisy, norms = self.noise(seed), []
        for number, t in enumerate(self.sampler.timesteps[: wanted.steps]):
            given = noisy
            if hasattr(self.sampler, "scale_model_input"):
                given = self.sampler.scale_model_input(noisy, t)
            outputs = [self.network(given, t, text) for text in ("", prompt)]
            without, with_it = (self.as_noise(output, given, t) for output in outputs)
            norms.append(float((with_it - without).norm()))
            if number == 0:
                first, pure = (without, with_it), given
            guided = outputs[0] + GUIDANCE * (outputs[1] - outputs[0])
            noisy = self.sampler.step(guided, t, noisy).prev_sample
        if wanted.score == "noise-magnitude":
            return sum(norms) / len(norms)
        if wanted.score == "one-step":
            return float((first[0] + GUIDANCE * (first[1] - first[0])).square().mean())
        late = torch.tensor(41)
        without, with_it = (
            self.as_noise(self.network(pure, late, text), pure, late) for text in ("", prompt)
        )
        alike = torch.nn.functional.cosine_similarity(without, with_it - without, dim=1)
        return norms[0] + 2 * float(alike.mean())

    def noise(self, seed):
        side = self.size // self.pipe.vae_scale_factor
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = torch.randn((1, 4, side, side), generator=generator)
        return drawn * getattr(self.sampler, "init_noise_sigma", 1.0)

    def as_noise(self, output, given, t):
        output, given = output.double(), given.double()
        kind = self.sampler.config.get("prediction_type", "flow")
        if kind == "epsilon":
            return output
        if kind == "flow":
            noise = t.double() / 1000
            signal, clean = 1 - noise, given - noise * output
        else:
            left = self.sampler.alphas_cumprod[int(t)].double()
            signal, noise = left.sqrt(), (1 - left).sqrt()
            clean = output if kind == "sample" else signal * given - noise * output
        if signal / noise > LEAST_SIGNAL:
            return (given - signal * clean) / noise
        return given / noise - 0.0684 * clean

    @torch.inference_mode()
    def network(self, given, t, text):
        pipe = self.pipe
        embed = {"prompt": text, "device": "cpu", "num_images_per_prompt": 1}
        kind = type(pipe).__name__
        if kind == "StableDiffusionPipeline":
            words = pipe.encode_prompt(**embed, do_classifier_free_guidance=False)[0]
            return pipe.unet(given, t, encoder_hidden_states=words).sample
        if kind == "StableDiffusionXLPipeline":
            words, _, pooled, _ = pipe.encode_prompt(**embed, do_classifier_free_guidance=False)
            if not text:  # as the published model was trained
                words, pooled = torch.zeros_like(words), torch.zeros_like(pooled)
            size = torch.tensor([[self.size, self.size, 0, 0, self.size, self.size]])
            added = {"text_embeds": pooled, "time_ids": size.float()}
            return pipe.unet(given, t, encoder_hidden_states=words, added_cond_kwargs=added).sample
        if kind == "StableDiffusion3Pipeline":
            words, _, pooled, _ = pipe.encode_prompt(
                **embed, prompt_2=text, prompt_3=text, do_classifier_free_guidance=False
            )
            return pipe.transformer(
                given, encoder_hidden_states=words, pooled_projections=pooled, timestep=t[None]
            ).sample
        words, mask, _, _ = pipe.encode_prompt(**embed, do_classifier_free_guidance=False)
        made = pipe.transformer(
            given, encoder_hidden_states=words, encoder_attention_mask=mask, timestep=t[None]
        ).sample
        return made[:, :4]
