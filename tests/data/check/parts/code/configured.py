"""A script that is only read."""

import hydra


@hydra.main(config_path="conf", config_name="config", version_base=None)
def main(config: object) -> None:
    print(config)


if __name__ == "__main__":
    main()
