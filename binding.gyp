{
  # One addon, `multiprocessing.node`, one Node-API binary for every Node from 20 on; and beside it the resource tracker,
  # a program of its own.
  #
  # The sources are globbed by Node itself (no shell, so Windows has no special case): a new file in
  # native/core or native/binding is picked up by the next configure. CMakeLists.txt builds the same
  # sources for cmake-js and for the tests of the C++ core.
  'variables': {
    # 1: with plain POSIX alone, as on macOS, for the tests (npm run test:portable).
    'plain_posix%': 0
  },
  'targets': [
    {
      'target_name': 'multiprocessing',
      'sources': [
        '<!@(node -p "[\'native/core\',\'native/core/win32\',\'native/binding\'].flatMap(d=>require(\'fs\').readdirSync(d).filter(f=>f.endsWith(\'.cc\')).sort().map(f=>d+\'/\'+f)).join(\' \')")'
      ],
      'include_dirs': [
        'native',
        '<!(node -p "require(\'node-addon-api\').include_dir")'
      ],
      'defines': [
        'NAPI_VERSION=8',
        'NODE_ADDON_API_DISABLE_DEPRECATED',
        'NAPI_DISABLE_CPP_EXCEPTIONS'
      ],
      'conditions': [
        ['OS=="win"', {
          'defines': ['NOMINMAX', 'WIN32_LEAN_AND_MEAN', '_WIN32_WINNT=0x0A00'],
          'msvs_settings': {
            'VCCLCompilerTool': { 'AdditionalOptions': ['/std:c++17', '/W4'] }
          }
        }, {
          # node-gyp inherits flags from the Node it builds for; -std and the warnings are ours on
          # every version.
          'cflags_cc!': ['-std=gnu++20', '-std=gnu++2a', '-std=gnu++17', '-std=gnu++1y', '-fno-rtti'],
          'cflags!': ['-O3', '-Wno-unused-parameter'],
          'cflags_cc': ['-std=gnu++17', '-O2', '-Wall', '-Wextra', '-fvisibility=hidden', '-fvisibility-inlines-hidden']
        }],
        ['plain_posix==1', {
          'defines': ['MP_PLAIN_POSIX'],
          'include_dirs': ['<(module_root_dir)/test/portable/include']
        }],
        ['OS=="linux"', {
          'defines': ['_GNU_SOURCE'],
          # shm_open is in librt before glibc 2.34.
          'libraries': ['-ldl', '-lrt', '-pthread'],
          # Every symbol is bound when the addon is loaded: a forked child that had to look one up would
          # copy dozens of pages for it.
          'ldflags': ['-Wl,-z,now']
        }],
        ['OS=="mac"', {
          'xcode_settings': {
            'CLANG_CXX_LANGUAGE_STANDARD': 'gnu++17',
            'CLANG_CXX_LIBRARY': 'libc++',
            'GCC_OPTIMIZATION_LEVEL': '2',
            'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
            'MACOSX_DEPLOYMENT_TARGET': '11.0',
            'OTHER_CPLUSPLUSFLAGS': ['-Wall', '-Wextra']
          }
        }]
      ]
    }
  ],
  'conditions': [
    ['OS!="win"', {
      'targets': [
        {
          'target_name': 'multiprocessing-tracker',
          'type': 'executable',
          'sources': ['native/tracker/main.cc'],
          'include_dirs': ['native'],
          'cflags_cc!': ['-std=gnu++20', '-std=gnu++2a', '-std=gnu++17', '-std=gnu++1y'],
          'cflags!': ['-O3', '-Wno-unused-parameter'],
          'cflags_cc': ['-std=gnu++17', '-Os', '-Wall', '-Wextra', '-fno-exceptions', '-fno-rtti', '-fno-threadsafe-statics'],
          'conditions': [
            ['OS=="linux"', {
              'defines': ['_GNU_SOURCE'],
              # Statically where the system has what it takes: half the memory, and half the time to start. Of C++ it
              # needs no library.
              'ldflags': [
                '-Wl,--as-needed', '-Wl,--gc-sections', '-s',
                '<!(node -p "const r=require(\'child_process\').spawnSync(process.env.CXX||\'c++\',[\'-print-file-name=libc.a\'],{encoding:\'utf8\'});/^\\//.test(r.stdout||\'\')?\'-static\':\'-s\'")'
              ],
              'libraries': ['-lrt']
            }],
            ['OS=="mac"', {
              'xcode_settings': {
                'CLANG_CXX_LANGUAGE_STANDARD': 'gnu++17',
                'GCC_OPTIMIZATION_LEVEL': 's',
                'GCC_ENABLE_CPP_EXCEPTIONS': 'NO',
                'GCC_ENABLE_CPP_RTTI': 'NO',
                'GCC_THREADSAFE_STATICS': 'NO',
                'MACOSX_DEPLOYMENT_TARGET': '11.0',
                'OTHER_CPLUSPLUSFLAGS': ['-Wall', '-Wextra']
              }
            }]
          ]
        }
      ]
    }]
  ]
}
