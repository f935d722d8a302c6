"""`python -m fletch_vllm`: the command `fletch-vllm` straight from a checkout."""

from fletch_vllm.command import main

if __name__ == "__main__":
    main()
